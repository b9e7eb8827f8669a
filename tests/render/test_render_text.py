from __future__ import annotations

import pytest
from render_builders import (
    BRACKETS,
    CPU,
    ENVIRONMENT,
    SETTINGS,
    candidate,
    decode,
    extend,
    failed,
    result,
    topk,
    wrong,
)

from autotune_cli.render import text
from autotune_cli.render.run_header import header
from autotune_cli.render.run_totals import counts
from autotune_cli.render.run_warnings import warnings_of
from autotune_cli.results.schema import WorkloadResult


@pytest.mark.parametrize(
    ("us", "shown"), [(None, "-"), (9.873, "9.87"), (98.7, "98.70"), (491.23, "491.2"), (1214.4, "1214"), (0.5, "0.50")]
)
def test_microseconds(us: float | None, shown: str) -> None:
    assert text.microseconds(us) == shown


def test_the_larger_side_of_an_interval_is_shown() -> None:
    assert text.with_interval(491.2, (490.9, 491.6)) == "491.2 ± 0.4"
    assert text.with_interval(491.2, None) == "491.2"
    assert text.with_interval(None, None) == "-"


def test_speedup() -> None:
    assert text.speedup(1.278, (1.275, 1.281)) == "1.278 ± .003"
    assert text.speedup(6.08, (4.0, 8.5)) == "6.080 ± 2.420"
    assert text.speedup(1.0, (1.0, 1.0)) == "1.00"
    assert text.speedup(2.0, None) == "2.00"
    assert text.speedup(None, None) == "-"


def test_shapes() -> None:
    assert text.batch_and_context(decode(1, 256)) == ("1", "≤256")
    assert text.batch_and_context(extend()) == ("4", "512+1536")
    assert text.batch_and_context(topk()) == ("16", "262144")


def test_share_of_the_floor() -> None:
    assert text.percent(text.winner_share_of_floor(result())) == "61 %"
    assert text.percent(text.winner_share_of_floor(result(floor_us=None))) == "-"
    assert text.percent(text.winner_share_of_floor(result(None, failed("a", "error"), winner=None))) == "-"


def above(workload: object = None, us: float = 100.0, floor: float = 104.0, **changes: object) -> WorkloadResult:
    return result(workload, candidate("fast", us), floor_us=floor, **changes)


def test_a_winner_within_its_interval_of_the_floor_is_at_the_floor() -> None:
    found = above(floor=100.4)
    assert text.percent(text.winner_share_of_floor(found)) == "100 %"
    assert warnings_of([found]) == []


def test_a_winner_above_the_floor_is_a_contradiction_that_is_told() -> None:
    found = above()
    assert text.percent(text.winner_share_of_floor(found)) == "104 %"
    (line,) = warnings_of([found])
    assert line == (
        "attention.decode 64 x ≤8192: fast stands at 104.0 % of the floor, above 100 % beyond its interval: "
        "the ceiling was measured too low, or the workload's bytes are over-counted"
    )


def test_so_is_a_candidate_that_did_not_win() -> None:
    out = candidate("out", 90.0, status="eliminated", reason="slower in its rounds")
    (line,) = warnings_of([result(None, candidate("fast", 100.0), out, floor_us=95.0)])
    assert "out stands at 105.6 % of the floor" in line
    # What is wrong may be as fast as it likes.
    assert warnings_of([result(None, candidate("fast", 4.0), wrong("liar", us=5.0), floor_us=4.0)]) == []


def test_what_a_run_warns_of_is_told() -> None:
    found = result(None, candidate("fast", 4.0)).model_copy(update={"warnings": ("fast was not checked again",)})
    assert [line for line in warnings_of([found]) if line.endswith(": fast was not checked again")]


def test_many_floors_that_are_none_are_one_line() -> None:
    (line,) = warnings_of([above(decode(1)), above(decode(2), floor=110.0), above(decode(3))])
    assert line.startswith("3 workloads have kernels faster than their floor; the furthest, attention.decode 2 x")
    assert "110.0 %" in line


def test_of_a_cpu_it_is_said_that_its_caches_are_warm() -> None:
    (line,) = warnings_of([above(identity={"threads": "2"})])
    assert "caches are warm" in line
    assert "over-counted" not in line


def test_ceilings_are_told_with_their_clocks() -> None:
    clocks = {"memory_sm_clock_mhz": 1980.0, "memory_clock_mhz": 2619.0, "max_sm_clock_mhz": 1980.0}
    rates = {"memory_gb_per_s": 3074.2, "matmul_tflop_per_s": 780.04, "matmul_sm_clock_mhz": 1755.0}
    fp8 = {"fp8_tflop_per_s": 1420.0, "fp8_sm_clock_mhz": 1980.0}
    made = ENVIRONMENT.model_copy(update=clocks | rates | fp8)
    assert header(made, SETTINGS)[2] == (
        "ceilings: 3,074 GB/s at 1980/2619 MHz (SM/memory), 780.0 TFLOP/s bf16 at 1755 MHz (880.0 at 1980), "
        "1,420.0 TFLOP/s fp8 at 1980 MHz"
    )


def test_ceilings_of_a_cpu_and_of_older_files_have_no_clocks() -> None:
    rates = {"memory_gb_per_s": 67.4, "matmul_tflop_per_s": 0.208}
    assert header(CPU.model_copy(update=rates), SETTINGS)[2] == "ceilings: 67 GB/s, 0.21 TFLOP/s float32"
    old = ENVIRONMENT.model_copy(update={"memory_gb_per_s": 4226.8, "matmul_tflop_per_s": 788.3})
    assert header(old, SETTINGS)[2] == "ceilings: 4,227 GB/s, 788.3 TFLOP/s bf16"
    assert len(header(ENVIRONMENT, SETTINGS)) == 2


def test_header_says_what_was_measured_and_how() -> None:
    device, method = header(ENVIRONMENT, SETTINGS, 0.0021)
    assert device == "NVIDIA H200, driver 580.159, torch 2.11.0, flashinfer 0.6.18"
    assert method == "cold L2, CUPTI, 10 rounds of up to 25 | noise band 0.21 %"
    changes = {"timer": "events", "l2": "warm", "exhaustive": True}
    assert "they time the host too" in header(ENVIRONMENT, SETTINGS.model_copy(update=changes))[1]
    assert header(CPU, SETTINGS)[0] == "AMD [bold]EPYC, 2 threads, torch 2.13.0"


def test_counts() -> None:
    results = [result(None, candidate("fast", 1.0), failed("a", "out_of_memory"), failed("b", "unsupported"))] * 2
    assert counts(results) == "2 workloads, 6 candidates: 2 raced, 2 out of memory, 2 unsupported"
    assert counts([]).startswith("0 workloads, 0 candidates")


def test_fast_but_wrong_is_a_warning_and_slow_and_wrong_is_not() -> None:
    fast, slow = wrong("liar", us=5.0), wrong("sloth", us=500.0)
    (line,) = warnings_of([result(None, candidate("fast", 134.0), fast, slow)])
    assert line == "attention.decode 64 x ≤8192: liar (5.00 us) is incorrect: wrong on normal: misses 21"


def test_a_default_that_must_not_run_is_a_warning_whatever_its_time() -> None:
    for broken in (wrong("d", us=900.0, default=True), failed("d", "crashed", "killed by SIGSEGV", default=True)):
        (line,) = warnings_of([result(None, candidate("fast", 134.0), broken)])
        assert "the default" in line
        assert str(broken.reason) in line


def test_many_failures_of_one_candidate_are_one_line() -> None:
    results = [result(topk(n), candidate("fast", 134.0), wrong("liar", case)) for n, case in
               ((1, "narrow"), (2, "narrow"), (3, "narrow"), (4, "normal"))]  # fmt: skip
    (line,) = warnings_of(results)
    assert line.startswith(
        "liar is incorrect in 4 workloads (wrong on narrow 3, normal 1); such as topk.select 4 x 262144"
    )


def test_no_winner_says_why() -> None:
    none = result(None, failed("a", "unsupported", "needs SM100"), failed("b", "timeout", BRACKETS), winner=None)
    assert warnings_of([none]) == [f"attention.decode 64 x ≤8192: no winner: b: timeout ({BRACKETS})"]
    without = result(None, failed("a", "unsupported", "needs SM100"), winner=None)
    assert warnings_of([without])[0].endswith("no winner: no candidate applies")
