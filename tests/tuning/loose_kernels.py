"""A user's kernel file: all of them are right, and each but one breaks what may be required of a kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels import register
from autotune_cli.kernels.candidate import Candidate
from autotune_cli.kernels.registry import prepared

Run = Callable[[], Any]
_calls = itertools.count()


def topk(prepare: Callable[[Any], Run]) -> Callable[[Any], Run]:
    return register("topk.select", name=f"loose.{prepare.__name__}", devices=("cpu", "cuda"))(prepare)


def decode(prepare: Callable[[Any], Run]) -> Callable[[Any], Run]:
    operations = ("attention.decode", "attention.extend")
    return register(*operations, name=f"loose.{prepare.__name__}", devices=("cpu", "cuda"))(prepare)


def first_of_equals(problem: Any) -> torch.Tensor:
    return problem.scores.sort(dim=1, descending=True, stable=True).indices[:, : problem.k].int()


@topk
def keeps_all(problem: Any) -> Run:
    return lambda: first_of_equals(problem)


@topk
def takes_the_last(problem: Any) -> Run:
    def run() -> Any:
        flipped = problem.scores.flip(1).sort(dim=1, descending=True, stable=True).indices[:, : problem.k]
        return (problem.scores.shape[1] - 1 - flipped).int()

    return run


@topk
def turns_every_third(problem: Any) -> Run:
    """One row of every third run is in another order."""

    def run() -> Any:
        found = first_of_equals(problem)
        if next(_calls) % 3 == 2:
            found[-1] = found[-1].flip(0)
        return found

    return run


@topk
def turns_by_batch(problem: Any) -> Run:
    def run() -> Any:
        found = first_of_equals(problem)
        return found if len(found) > 1 else found.flip(1)

    return run


@topk
def refuses_other_batches(problem: Any) -> Run:
    if len(problem.scores) == 1:
        raise ValueError("a batch of one")
    return lambda: first_of_equals(problem)


@topk
def turns_when_prepared_anew(problem: Any) -> Run:
    turn = next(_calls) % 2 == 0

    def run() -> Any:
        found = first_of_equals(problem)
        return found.flip(1) if turn else found

    return run


@decode
def rounds_by_batch(problem: Any) -> Run:
    """As a split of the keys that depends on how many requests there are."""
    inner = prepared(Candidate("torch.sdpa", (("kernel", "math"),)), problem)

    def run() -> Any:
        out = inner.run()
        out = out[0] if isinstance(out, tuple) else out
        return out * (1.0 + len(problem.lengths.kv) * 2.0**-22)

    return run


@decode
def rounds_at_random(problem: Any) -> Run:
    inner = prepared(Candidate("torch.sdpa", (("kernel", "math"),)), problem)

    def run() -> Any:
        out = inner.run()
        out = out[0] if isinstance(out, tuple) else out
        return out * (1.0 + (next(_calls) % 2) * 2.0**-22)

    return run
