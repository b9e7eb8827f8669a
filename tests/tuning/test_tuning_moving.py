"""Each round of a race runs with its inputs, and what libraries keep, at another place in memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate, Prepared, register
from autotune_cli.kernels.topk.problem import TopkProblem
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.measure.timers.cpu_clock import CpuClock
from autotune_cli.results.schema import Environment
from autotune_cli.tuning.bench import Bench
from autotune_cli.tuning.messages import RoundDone, RoundEntry

SMALL = TopkWorkload(operation="topk.select", rows=2, width=512, k=8, mode="eager", distributions=("normal",))


@dataclass
class Seen:
    """What a backend lives through."""

    log: list[str] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)
    """When it is told to forget: how many of its prepared candidates are there."""
    problems: list[TopkProblem] = field(default_factory=list)
    prepared: list[weakref.ref[Any]] = field(default_factory=list)


class Kernel:
    """What a library's wrapper would be: referred to by nothing but a prepared candidate."""

    def __init__(self, problem: TopkProblem) -> None:
        self.scores, self.k = problem.scores, problem.k

    def __call__(self) -> torch.Tensor:
        return torch.topk(self.scores, self.k, dim=1).indices.to(torch.int32)


@pytest.fixture
def backends() -> Iterator[Callable[..., Seen]]:
    made: list[str] = []

    def make(name: str, forgets: bool = True) -> Seen:
        seen = Seen()

        def prepare(problem: TopkProblem) -> Prepared:
            kernel = Kernel(problem)
            seen.log.append("prepare")
            seen.problems.append(problem)
            seen.prepared.append(weakref.ref(kernel))
            return Prepared(kernel)

        def forget() -> None:
            seen.log.append("forget")
            seen.alive.append(sum(reference() is not None for reference in seen.prepared))

        REGISTRY.discover()
        register("topk.select", name=name, devices=("cpu",), forget=forget if forgets else None)(prepare)
        made.append(name)
        return seen

    yield make
    for name in made:
        REGISTRY._backends.pop(name)


def bench() -> Bench:
    environment = Environment(device_kind="cpu", device="a CPU", python="3", libraries={})
    return Bench(environment, None, CpuClock(), 0, lambda name, subject: None)


def race(table: Bench, rounds: int, *names: str, places: int = 1) -> None:
    entries = tuple(RoundEntry(Candidate(name)) for name in names)
    for number in range(rounds):
        done = table.round(SMALL, number, entries, 2, places)
        assert isinstance(done, RoundDone), done


def test_a_library_forgets_before_each_round(backends: Callable[..., Seen]) -> None:
    seen = backends("tests.keeps")
    table = bench()
    assert table.vet(SMALL, Candidate("tests.keeps"), 1).status == "ok"
    assert seen.log == ["prepare"]
    race(table, 3, "tests.keeps")
    assert seen.log[1:] == ["forget", "prepare"] * 3


def test_nothing_of_it_is_prepared_then(backends: Callable[..., Seen]) -> None:
    """A wrapper that lives on would go on using the buffer that the library has dropped."""
    seen = backends("tests.keeps")
    table = bench()
    table.vet(SMALL, Candidate("tests.keeps"), 1)
    race(table, 3, "tests.keeps")
    assert seen.alive == [0, 0, 0]


def test_a_library_that_keeps_something_is_at_one_place_a_round(backends: Callable[..., Seen]) -> None:
    seen, plain = backends("tests.keeps"), backends("tests.plain", forgets=False)
    race(bench(), 2, "tests.keeps", "tests.plain", places=3)
    assert seen.log == ["forget", "prepare"] * 2
    assert plain.log == ["prepare"] * 2
    race(bench(), 2, "tests.plain", places=3)
    assert plain.log == ["prepare"] * (2 + 6)


def test_the_first_heat_is_where_candidates_were_vetted(backends: Callable[..., Seen]) -> None:
    """What was prepared there is used; the next round begins elsewhere."""
    seen = backends("tests.keeps")
    table = bench()
    assert table.vet(SMALL, Candidate("tests.keeps"), 1).status == "ok"
    race(table, 1, "tests.keeps", places=0)
    assert seen.log == ["prepare"]
    race(table, 1, "tests.keeps", places=1)
    assert seen.log == ["prepare", "forget", "prepare"]
    assert len({problem.scores.data_ptr() for problem in seen.problems}) == 2


def test_only_those_that_take_part_are_asked(backends: Callable[..., Seen]) -> None:
    seen, other = backends("tests.keeps"), backends("tests.others")
    race(bench(), 2, "tests.keeps")
    assert "forget" in seen.log
    assert other.log == []


def test_the_second_copy_of_a_candidate_is_told_once(backends: Callable[..., Seen]) -> None:
    seen = backends("tests.keeps")
    candidate = Candidate("tests.keeps")
    done = bench().round(SMALL, 0, (RoundEntry(candidate), RoundEntry(candidate, 1)), 2, 1)
    assert isinstance(done, RoundDone)
    assert seen.log == ["forget", "prepare", "prepare"]


def test_the_inputs_are_the_same_ones_elsewhere(backends: Callable[..., Seen]) -> None:
    seen = backends("tests.plain", forgets=False)
    race(bench(), 2, "tests.plain", places=2)
    # All four are held by this test, so that no address is used again.
    assert len({problem.scores.data_ptr() for problem in seen.problems}) == 4
    first = seen.problems[0]
    for problem in seen.problems[1:]:
        assert torch.equal(problem.scores, first.scores)
        assert problem.reference is first.reference


def test_spoilt_inputs_are_drawn_anew(backends: Callable[..., Seen]) -> None:
    seen = backends("tests.plain", forgets=False)
    table = bench()
    race(table, 1, "tests.plain")
    right = seen.problems[0].scores.clone()
    seen.problems[0].scores.zero_()
    race(table, 1, "tests.plain")
    assert torch.equal(seen.problems[1].scores, right)
