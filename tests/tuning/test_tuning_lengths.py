"""A workload of several lengths: prepared once, judged and timed at each. Times follow from the lengths alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Candidate, LaunchPlan, Prepared, prepared, register
from autotune_cli.measure.timers import Sample
from autotune_cli.measure.timers.base import Inspection, Launch
from autotune_cli.results.records import RoundLine, RoundRecord, _parse
from autotune_cli.results.schema import CandidateResult, Conditions, Environment
from autotune_cli.tuning.bench import Bench
from autotune_cli.tuning.lengths import NO_REFILL, fastest_at_points
from autotune_cli.tuning.messages import Planned, RoundDone, RoundEntry, Vetted
from autotune_cli.tuning.outcome import candidate_result, finished_candidate
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.race import Race
from autotune_cli.tuning.racing import Racing
from autotune_cli.tuning.task import Findings

POINTS = (LengthPoint(context=20), LengthPoint(context=60, weight=2), LengthPoint(context=100))
WORKLOAD = AttentionWorkload(
    operation="attention.decode",
    geometry=Geometry(num_qo_heads=2, num_kv_heads=1, head_dim=16, dtype="float32"),
    batch=2,
    context=100,
    mode="eager",
    points=POINTS,
)
TORCH = Candidate("torch.sdpa", (("kernel", "math"),))


class Clock:
    """A timer: a call takes what its backend says, by the keys that it computes."""

    name, l2 = "clock", "warm"

    def __init__(self) -> None:
        self.us = 0.0
        self.passes: list[int] = []
        """Calls of each launch in each pass."""

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        self.passes.append(iterations)
        samples = []
        for index, launch in enumerate(launches):
            started(index)
            launch()
            samples.append(Sample((self.us,) * iterations))
        return samples

    def inspect(self, launch: Launch, iterations: int) -> Inspection:
        launch()
        return Inspection(Sample((self.us,)), ())


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Backends: one for short requests, one for long ones, two that can't be replayed."""
    made = Clock()
    REGISTRY.discover()
    names = []

    def add(name: str, takes: Callable[[int], float], stale_at: int = 0, refills: bool = True) -> None:
        def prepare(problem: AttentionProblem) -> Prepared:
            inner = prepared(TORCH, problem)
            longest = [max(problem.lengths.kv)]

            def run() -> Any:
                made.us = takes(longest[0])
                return inner.run()

            def refill(other: AttentionProblem) -> None:
                longest[0] = max(other.lengths.kv)
                assert inner.refill is not None
                if longest[0] != stale_at:
                    inner.refill(other)

            return Prepared(run, refill=refill if refills else None, frozen=f"all of {name}")

        register("attention.decode", name=name, devices=("cpu",))(prepare)
        names.append(name)

    add("tests.short", lambda keys: float(keys))
    add("tests.long", lambda keys: 40.0 + 0.25 * keys)
    add("tests.stale", lambda keys: 1.0, stale_at=max(WORKLOAD.lengths_at(20).kv))
    add("tests.fixed", lambda keys: 1.0, refills=False)
    yield made
    for name in names:
        REGISTRY._backends.pop(name)


def bench(clock: Clock) -> Bench:
    environment = Environment(device_kind="cpu", device="a CPU", python="3", libraries={})
    return Bench(environment, None, clock, 0, lambda name, subject: None)


# The longest request of each point has 3 keys less than its context.
SHORT = (17.0, 57.0, 97.0)
LONG = tuple(40.0 + 0.25 * keys for keys in SHORT)


def mean(us: Sequence[float]) -> float:
    return (us[0] + 2 * us[1] + us[2]) / 4


def test_a_candidate_is_judged_and_timed_at_every_length(clock: Clock) -> None:
    vetted = bench(clock).vet(WORKLOAD, Candidate("tests.short"), 1)
    assert vetted.status == "ok"
    assert [case.case for case in vetted.evidence] == [
        "workload",
        "workload 20",
        "workload 60",
        "workload 100",
        "edges",
    ]
    assert (vetted.points_us, vetted.rough_us, vetted.frozen) == (SHORT, mean(SHORT), "all of tests.short")


def test_what_is_told_of_a_capture_is_the_librarys_plan_and_what_it_fixes(clock: Clock) -> None:
    def prepare(problem: AttentionProblem) -> Prepared:
        inner = prepared(TORCH, problem)
        plans = (LaunchPlan(True, 264, 16), LaunchPlan(False, 3))
        return Prepared(inner.run, refill=inner.refill, describe=lambda: plans, frozen="planned anew")

    register("attention.decode", name="tests.told", devices=("cpu",))(prepare)
    try:
        vetted = bench(clock).vet(WORKLOAD, Candidate("tests.told"), 1)
    finally:
        REGISTRY._backends.pop("tests.told")
    told = "KV split, 264 work items of 16 queries; KV not split, 3 work items; planned anew"
    assert (vetted.status, vetted.frozen) == ("ok", told)


def test_what_is_wrong_at_one_length_is_incorrect(clock: Clock) -> None:
    vetted = bench(clock).vet(WORKLOAD, Candidate("tests.stale"), 1)
    assert vetted.status == "incorrect"
    assert [case.case for case in vetted.evidence if not case.ok] == ["workload 20"]
    assert (vetted.reason or "").startswith("wrong on workload 20: ")


def test_what_holds_for_one_batch_only_is_unsupported(clock: Clock) -> None:
    vetted = bench(clock).vet(WORKLOAD, Candidate("tests.fixed"), 1)
    assert (vetted.status, vetted.reason) == ("unsupported", NO_REFILL)


@pytest.mark.parametrize("placements", [1, 2])
def test_a_round_measures_every_length_with_what_was_prepared_once(clock: Clock, placements: int) -> None:
    entries = (RoundEntry(Candidate("tests.short")), RoundEntry(Candidate("tests.long")))
    table = bench(clock)
    for number in range(2):
        done = table.round(WORKLOAD, number, entries, 12, placements)
        assert isinstance(done, RoundDone), done
        assert done.points_us == (SHORT, LONG)
        assert done.us == pytest.approx((mean(SHORT), mean(LONG)))
    # The lengths share the calls of a round.
    assert clock.passes == [12 // placements // 3] * 6
    # After the last length, which is the longest, a candidate is what it was prepared for.
    assert table.recheck(WORKLOAD, Candidate("tests.short"), 3).status == "ok"


def test_a_candidate_that_becomes_wrong_at_one_length_is_caught_after_the_race(clock: Clock) -> None:
    table = bench(clock)
    done = table.round(WORKLOAD, 0, (RoundEntry(Candidate("tests.stale")),), 3, 1)
    assert isinstance(done, RoundDone), done
    again = table.recheck(WORKLOAD, Candidate("tests.stale"), 3)
    assert again.status == "incorrect"
    assert [case.case for case in again.evidence if not case.ok] == ["workload 20"]


def test_inputs_changed_at_one_length_are_noticed(clock: Clock) -> None:
    def prepare(problem: AttentionProblem) -> Prepared:
        inner = prepared(TORCH, problem)
        keys = problem.paged(1).k

        def refill(other: AttentionProblem) -> None:
            assert inner.refill is not None
            inner.refill(other)
            if max(other.lengths.kv) < 50:
                keys[1] += 1.0

        return Prepared(inner.run, refill=refill)

    register("attention.decode", name="tests.changes", devices=("cpu",))(prepare)
    try:
        vetted = bench(clock).vet(WORKLOAD, Candidate("tests.changes"), 1)
    finally:
        REGISTRY._backends.pop("tests.changes")
    assert vetted.status == "incorrect"
    assert "workload 20: it changes its inputs" in (vetted.reason or "")


def test_the_times_of_each_round_and_length_are_in_the_result(clock: Clock) -> None:
    race = Race(RacePolicy(heats=0), ["a"])
    race.add(0, {"a": mean(SHORT)}, None, {"a": SHORT})
    race.add(1, {"a": mean(LONG)}, None, {"a": LONG})
    vetted = Vetted("ok", rough_us=1.0, points_us=SHORT, frozen="the grid")
    result = finished_candidate(candidate_result(Planned(Candidate("a")), vetted), race)
    assert isinstance(result, CandidateResult)
    assert (result.rounds, result.points_us) == ((0, 1), (SHORT, LONG))
    assert (result.rough_points_us, result.frozen) == (SHORT, "the grid")
    assert torch.tensor(result.rounds_us).tolist() == torch.tensor([mean(SHORT), mean(LONG)]).tolist()


def test_the_fastest_at_each_length_is_raced_to_the_end() -> None:
    times = {"b": (1.0, 9.0, 9.0), "a": (1.0, 5.0, 6.0), "c": (9.0, 7.0, 5.0), "d": (2.0, 6.0, 7.0), "unknown": ()}
    assert fastest_at_points(times) == {"a", "c"}
    assert fastest_at_points({"unknown": ()}) == frozenset()


def test_the_vetting_decides_who_is_raced_to_the_end() -> None:
    """Those that are right. What is behind over all lengths is out, unless it is the fastest at one of them."""
    times = {"even": (9.0, 9.0), "short": (5.0, 50.0), "slow": (9.5, 60.0), "wrong": (1.0, 1.0)}
    results = {
        key: candidate_result(
            Planned(Candidate(key)),
            Vetted("incorrect" if key == "wrong" else "ok", "wrong", rough_us=sum(us) / 2, points_us=us),
        )
        for key, us in times.items()
    }
    task: Any = SimpleNamespace(
        candidates=results, held=(), own=(), policy=RacePolicy(), known=SimpleNamespace(rounds={}), key="w"
    )
    race = Racing(task, Findings(results=results)).race
    assert (race.kept, race.running) == ({"even", "short"}, ["even", "short"])


def test_a_journal_keeps_the_times_at_each_length() -> None:
    record = RoundRecord(conditions=Conditions(round=0), times={"a": mean(SHORT)}, points={"a": SHORT})
    line = RoundLine(workload=WORKLOAD.key, round=record)
    assert _parse(line.model_dump_json().encode()) == line
