"""The servers among which a plan chooses, and the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_cli.errors import BadField
from autotune_cli.planning.configurations import Missing, Servers
from autotune_cli.planning.records import NoPlan, Ran
from autotune_cli.planning.times import Time, Weighed, ratio_of_steps, step_of
from autotune_cli.results.schema import WorkloadResult


@dataclass(frozen=True)
class Option:
    """A server that can be run and priced."""

    values: dict[str, str]
    parts: tuple[Weighed, ...]
    step: Time
    told: int
    """How many settings it needs."""


def priceable(
    servers: Servers, weights: Mapping[str, float], pins: Mapping[str, str]
) -> tuple[list[WorkloadResult], list[tuple[str, str]]]:
    """The workloads that some settings have a time for; and the others, with the reason of the engine's own choice."""
    combinations = [values for values in servers.combinations({}) if servers.broken(values) is None]
    results, left_out = [], []
    for result in servers.results:
        if not weights[result.key]:
            left_out.append((result.key, "no weight"))
        elif result.choice is None:
            left_out.append((result.key, "no candidate is right"))
        elif not isinstance(servers.measured(result, result.choice.winner), Ran):
            left_out.append((result.key, "its winner has no time"))
        elif any(isinstance(servers.price(result, values), Ran) for values in combinations):
            results.append(result)
        else:
            missing = servers.price(result, pins)
            left_out.append((result.key, missing.reason if isinstance(missing, Missing) else "its rules forbid it"))
    return results, left_out


def options_of(
    servers: Servers,
    results: Sequence[WorkloadResult],
    weight: Mapping[str, float],
    pins: Mapping[str, str],
    typed: Sequence[str],
) -> tuple[list[Option], dict[str, set[str]]]:
    """All servers that serve all of the workloads, and the values that knobs have in them.

    Args:
        typed: the pins as the user has them.

    Raises:
        BadField: pins leave none. NoPlan: there is none without pins either.
    """
    options: dict[tuple[str, ...], Option] = {}
    usable: dict[str, set[str]] = {}
    forbidden: dict[str, int] = {}
    unpriced: dict[str, int] = {}
    for values in servers.combinations(pins):
        rule = servers.broken(values)
        if rule is not None:
            text = f"{rule.reason} ({rule.source})"
            forbidden[text] = forbidden.get(text, 0) + 1
            continue
        priced = [(result, servers.price(result, values)) for result in results]
        missing = [(result, ran) for result, ran in priced if isinstance(ran, Missing)]
        if missing:
            result, lacking = missing[0]
            text = f"{result.workload.title} {result.workload.full_shape}: {lacking.reason}"
            unpriced[text] = unpriced.get(text, 0) + 1
            continue
        parts = tuple(Weighed(weight[result.key], ran.key, ran.time) for result, ran in priced if isinstance(ran, Ran))
        for name, value in values.items():
            usable.setdefault(name, set()).add(value)
        option = Option(values, parts, step_of(parts), len(servers.settings(values)))
        # Of servers that run the same kernels, the one that is told least; of those the first.
        keys = tuple(part.candidate for part in parts)
        if keys not in options or option.told < options[keys].told:
            options[keys] = option
    if not options:
        # Rules forbid some combination always; they are the reason only where they leave none.
        reasons = unpriced or forbidden
        why = few(sorted(reasons, key=lambda reason: -reasons[reason]))
        if pins:
            raise BadField("pin", f"no server with {', '.join(typed)} can be planned: {why}")
        raise NoPlan(engine=servers.server.table.title, detail=f"no settings serve all workloads: {why}")
    return list(options.values()), usable


def choose(options: Sequence[Option]) -> tuple[Option, int]:
    """Of the servers that can't be told from the fastest, the one that is told least; and how many they are.

    Of those that are told as much it is the first in the order of the engine's file, smaller pages first, and not the
    fastest: so two results of the same kernels give the same plan. Where telling nothing is slower than the fastest,
    those that can't be told from telling nothing are out.
    """
    fastest = min(options, key=lambda option: option.step.us)
    tied = [option for option in options if option is fastest or _is_tied(option, fastest)]
    plainest = min(options, key=lambda option: option.told)
    if plainest not in tied:
        # One that is known roughly may be tied with both: it is told something, and gains nothing that is known.
        tied = [option for option in tied if option is fastest or not _is_tied(plainest, option)]
    return min(tied, key=lambda option: option.told), len(tied)


def _is_tied(option: Option, fastest: Option) -> bool:
    ratio = ratio_of_steps(option.parts, fastest.parts)
    return ratio is not None and ratio.low <= 1.0


def few(texts: Sequence[str] | Mapping[str, object]) -> str:
    found = list(texts)
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more reasons" if len(found) > 3 else "")
