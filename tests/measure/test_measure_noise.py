"""Which times can't be trusted, and what is said to be the cause."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.measure.noise import NOISY_BAND, likely_cause, why_noisy
from autotune_cli.results.schema import CandidateResult, Choice, Conditions, PropertyVerdict, WorkloadResult

WINNER, BEATEN = "winner", "beaten"


def candidate(key: str, us: float, **changes: Any) -> CandidateResult:
    fields: dict[str, Any] = {
        "key": key,
        "backend": key,
        "label": key,
        "status": "ok",
        "rounds": (0, 1),
        "rounds_us": (us, us),
        "median_us": us,
        "interval_us": (us - 0.5, us + 0.5),
        "rough_us": us,
    }
    return CandidateResult(**(fields | changes))


def result(*candidates: CandidateResult, **changes: Any) -> WorkloadResult:
    workload = TopkWorkload(operation="topk.select", rows=16, width=4096, k=2048, mode="eager")
    fields: dict[str, Any] = {
        "workload": workload,
        "key": workload.key,
        "environment": "e",
        "identity": {},
        "candidates": candidates or (candidate(WINNER, 100.0), candidate(BEATEN, 120.0)),
        "choice": Choice(winner=WINNER, tie_set=(WINNER,), best=WINNER, default=None, reason="separated"),
        "measured_at": "2026-11-21T09:30:12Z",
    }
    return WorkloadResult(**(fields | changes))


def test_an_everyday_result_is_not_noisy() -> None:
    assert why_noisy(result()) is None
    assert why_noisy(result(noise=NOISY_BAND)) is None
    assert why_noisy(result(noise=None)) is None


def test_a_faster_one_that_was_not_to_win_is_no_contradiction() -> None:
    faster = candidate(BEATEN, 40.0)
    assert "did not beat it" in (why_noisy(result(candidate(WINNER, 100.0), faster)) or "")
    verdict = PropertyVerdict(name="deterministic", ok=False, message="3 of 7 runs differed")
    barred = faster.model_copy(update={"properties": (verdict,)})
    assert why_noisy(result(candidate(WINNER, 100.0), barred)) is None


def test_a_band_over_ten_per_cent_is() -> None:
    assert why_noisy(result(noise=0.224)) == "two copies of one kernel differ by 22 %"


def test_without_a_winner_there_is_nothing_to_trust() -> None:
    assert why_noisy(result(noise=0.5, choice=None)) is None


def test_an_interval_as_wide_as_the_time_is() -> None:
    wide = result(candidate(WINNER, 100.0, interval_us=(60.0, 160.0)))
    assert why_noisy(wide) == "the winner's interval, 60 to 160 us, is as wide as its time, 100 us"
    assert why_noisy(result(candidate(WINNER, 100.0, interval_us=(60.0, 150.0)))) is None


def test_a_winner_far_slower_than_whom_it_beat_is() -> None:
    """An eliminated candidate of 413 us beside a winner of 8142."""
    beaten = candidate(BEATEN, 8600.0, status="eliminated", reason="its rough time", rough_us=413.0)
    assert why_noisy(result(candidate(WINNER, 8142.0), beaten)) == (
        "the winner took 8142 us, and beaten, which did not beat it, 413 us when it was checked"
    )
    # Rough times are rough; and a wrong one was not beaten.
    assert why_noisy(result(candidate(WINNER, 800.0), beaten)) is None
    wrong = beaten.model_copy(update={"status": "incorrect"})
    assert why_noisy(result(candidate(WINNER, 8142.0), wrong)) is None


CPU = {"threads": "8", "timer": "cpu_clock"}


@pytest.mark.parametrize(
    ("load", "cores", "words"),
    [
        (
            7.9,
            2,
            "the load average is 7.9 on 2 cores, so other programs run beside; torch computes with 8 threads on 2",
        ),
        (2.0, 2, "torch computes with 8 threads on 2 cores (OMP_NUM_THREADS sets it)"),
        (30.0, 8, "the load average is 30.0 on 8 cores, so other programs run beside"),
        (1.0, 8, "other programs' load, 8 threads of torch on shared cores, or a changing clock"),
        (None, None, "other programs' load, 8 threads of torch on shared cores, or a changing clock"),
    ],
)
def test_a_processor_s_cause(load: float | None, cores: int | None, words: str) -> None:
    assert likely_cause(result(identity=CPU), load, cores).startswith(words)


def reading(number: int, clock: float, *throttle: str) -> Conditions:
    return Conditions(round=number, sm_clock_mhz=clock, throttle=throttle)


@pytest.mark.parametrize(
    ("readings", "timer", "words"),
    [
        (
            (reading(0, 1980.0), reading(1, 1980.0, "power cap"), reading(2, 990.0, "thermal (hardware)")),
            "cupti",
            "the GPU was slowed down in 2 of 3 rounds (power cap, thermal (hardware)); its SM clock was between "
            "990 and 1980 MHz",
        ),
        ((reading(0, 1980.0),), "events", "CUDA events time the host too, which other programs' load slows down"),
        ((reading(0, 1980.0),), "cupti", "another program on this GPU; its clock and throttling were steady"),
    ],
)
def test_a_gpu_s_cause(readings: tuple[Conditions, ...], timer: str, words: str) -> None:
    assert likely_cause(result(identity={"timer": timer}, conditions=readings), 99.0, 2) == words
