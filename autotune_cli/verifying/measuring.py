"""Pairs of measurements, one on each server, in an order that cancels what drifts."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.fields import Message
from autotune_cli.verifying.client import Answer, Client, ServerFailure
from autotune_cli.verifying.prompts import prompt

SideName = Literal["base", "new"]
SIDES: tuple[SideName, SideName] = ("base", "new")
# While threads wait for answers the main one looks up this often, for Ctrl-C.
_GLANCE_S = 0.2


@dataclass(frozen=True)
class Plan:
    """What is asked."""

    pairs: int = 20
    concurrency: int = 1
    """Requests at a time."""
    input_words: int = 256
    output_tokens: int = 64
    warm_up: int = 2
    """Measurements of each server that don't count: the first ones compile and fill caches."""
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """One server, ``concurrency`` requests at a time. Means over the requests."""

    ttft_s: float
    itl_s: float | None
    """None: no answer had a second token."""
    tokens_per_s: float
    """Of all requests together, from the first request to the last token."""
    tokens: float
    prompt_tokens: float | None


@dataclass(frozen=True)
class Pair:
    """A measurement of both."""

    number: int
    first: SideName
    """Which was measured first."""
    base: Sample
    new: Sample


@dataclass(frozen=True)
class Failure:
    """Why there are no more pairs."""

    side: SideName
    address: str
    detail: str
    during: str
    """``the warm-up``, ``pair 3 of 20``."""
    is_usage: bool

    def __str__(self) -> str:
        return f"{self.side} {self.address} {self.detail} (in {self.during})"


@dataclass
class Measured:
    """What was measured, whole or cut short."""

    plan: Plan
    models: dict[SideName, str]
    pairs: list[Pair] = field(default_factory=list)
    failure: Failure | None = None
    interrupted: bool = False


def orders(pairs: int, seed: int) -> list[tuple[SideName, SideName]]:
    """The order of each pair: two pairs mirror each other (ABBA), and which way round is drawn. So a drift that is
    steady over four measurements cancels, and nothing that has a period lines up with it.
    """
    drawn = random.Random(seed)
    found: list[tuple[SideName, SideName]] = []
    while len(found) < pairs:
        order: tuple[SideName, SideName] = ("base", "new") if drawn.random() < 0.5 else ("new", "base")
        found += [order, (order[1], order[0])]
    return found[:pairs]


def choose_model(side: SideName, client: Client, wanted: str | None) -> str:
    """The model to ask for: the wanted one, or the first that the server serves.

    Raises:
        UnknownName: it serves others.
        BadField: it can't be told, and none is wanted.
        ServerFailure: it doesn't answer at all.
    """
    try:
        names = client.models()
    except ServerFailure as error:
        if wanted is not None and error.is_usage:
            # Not every server lists its models; whether it has this one it will say itself.
            return wanted
        raise
    if wanted is not None:
        if names and wanted not in names:
            raise UnknownName(f"model of {client.address}", wanted, names)
        return wanted
    if not names:
        raise BadField(side, Message("{address} serves no model; name one by {fields.model}", address=client.address))
    return names[0]


def measure(
    clients: dict[SideName, Client], models: dict[SideName, str], plan: Plan, tell: Callable[[str], None]
) -> Measured:
    """All pairs, or those until a server fails or Ctrl-C comes. Nothing is raised for either.

    Args:
        tell: is told what is done, for a person who waits.
    """
    measured = Measured(plan, models)
    during, side = "the warm-up", SIDES[0]
    try:
        for number in range(plan.warm_up):
            for side in SIDES:
                tell(f"warm-up {number + 1} of {plan.warm_up}: {side}")
                _sample(clients[side], models[side], plan, "warm-up", number, side)
        for number, order in enumerate(orders(plan.pairs, plan.seed)):
            during = f"pair {number + 1} of {plan.pairs}"
            found: dict[SideName, Sample] = {}
            for side in order:
                tell(f"{during}: {side}")
                found[side] = _sample(clients[side], models[side], plan, "pair", number, side)
            measured.pairs.append(Pair(number, order[0], found["base"], found["new"]))
    except ServerFailure as error:
        measured.failure = Failure(side, str(clients[side].address), str(error), during, error.is_usage)
    except KeyboardInterrupt:
        measured.interrupted = True
    return measured


def _sample(client: Client, model: str, plan: Plan, *place: object) -> Sample:
    texts = [prompt(plan.input_words, plan.seed, *place, request) for request in range(plan.concurrency)]
    return sample_of(_asked(client, model, texts, plan.output_tokens))


def _asked(client: Client, model: str, texts: Sequence[str], tokens: int) -> list[Answer]:
    """All at a time.

    Raises:
        ServerFailure: the first that failed.
    """
    if len(texts) == 1:
        return [client.ask(model, texts[0], tokens)]
    answers: list[Answer] = []
    failures: list[Exception] = []

    def ask(text: str) -> None:
        try:
            answers.append(client.ask(model, text, tokens))
        except Exception as error:
            failures.append(error)

    # Daemons: one that waits for a server that hangs must not keep the program from ending.
    threads = [threading.Thread(target=ask, args=(text,), daemon=True) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_GLANCE_S)
    if failures:
        raise failures[0]
    return answers


def sample_of(answers: Sequence[Answer]) -> Sample:
    """What the answers to requests at one time come to."""
    gaps = [gap for answer in answers if (gap := answer.itl_s) is not None]
    prompts = [count for answer in answers if (count := answer.prompt_tokens) is not None]
    wall = max(answer.last for answer in answers) - min(answer.started for answer in answers)
    tokens = sum(answer.tokens for answer in answers)
    return Sample(
        ttft_s=sum(answer.ttft_s for answer in answers) / len(answers),
        itl_s=sum(gaps) / len(gaps) if gaps else None,
        tokens_per_s=tokens / wall if wall > 0.0 else 0.0,
        tokens=tokens / len(answers),
        prompt_tokens=sum(prompts) / len(prompts) if prompts else None,
    )
