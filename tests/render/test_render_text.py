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
    assert text.percent(text.share_of_floor(result())) == "61 %"
    assert text.percent(text.share_of_floor(result(floor_us=None))) == "-"
    assert text.percent(text.share_of_floor(result(None, failed("a", "error"), winner=None))) == "-"


def test_header_says_what_was_measured_and_how() -> None:
    device, method = text.header(ENVIRONMENT, SETTINGS, 0.0021)
    assert device == "NVIDIA H200, driver 580.159, torch 2.11.0, flashinfer 0.6.18"
    assert method == "cold L2, CUPTI, 10 rounds of 25 | noise floor 0.21 %"
    changes = {"timer": "events", "l2": "warm", "exhaustive": True}
    assert "they time the host too" in text.header(ENVIRONMENT, SETTINGS.model_copy(update=changes))[1]
    assert text.header(CPU, SETTINGS)[0] == "AMD [bold]EPYC, 2 threads, torch 2.13.0"


def test_counts() -> None:
    results = [result(None, candidate("fast", 1.0), failed("a", "out_of_memory"), failed("b", "unsupported"))] * 2
    assert text.counts(results) == "2 workloads, 6 candidates: 2 raced, 2 out of memory, 2 unsupported"
    assert text.counts([]).startswith("0 workloads, 0 candidates")


def test_fast_but_wrong_is_a_warning_and_slow_and_wrong_is_not() -> None:
    fast, slow = wrong("liar", us=5.0), wrong("sloth", us=500.0)
    (line,) = text.warnings_of([result(None, candidate("fast", 134.0), fast, slow)])
    assert line == "attention.decode 64 x ≤8192: liar (5.00 us) is incorrect: wrong on normal: misses 21"


def test_a_default_that_must_not_run_is_a_warning_whatever_its_time() -> None:
    for broken in (wrong("d", us=900.0, default=True), failed("d", "crashed", "killed by SIGSEGV", default=True)):
        (line,) = text.warnings_of([result(None, candidate("fast", 134.0), broken)])
        assert "the default" in line
        assert str(broken.reason) in line


def test_many_failures_of_one_candidate_are_one_line() -> None:
    results = [result(topk(n), candidate("fast", 134.0), wrong("liar", case)) for n, case in
               ((1, "narrow"), (2, "narrow"), (3, "narrow"), (4, "normal"))]  # fmt: skip
    (line,) = text.warnings_of(results)
    assert line.startswith(
        "liar is incorrect in 4 workloads (wrong on narrow 3, normal 1); such as topk.select 4 x 262144"
    )


def test_no_winner_says_why() -> None:
    none = result(None, failed("a", "unsupported", "needs SM100"), failed("b", "timeout", BRACKETS), winner=None)
    assert text.warnings_of([none]) == [f"attention.decode 64 x ≤8192: no winner: b: timeout ({BRACKETS})"]
    nobody = result(None, failed("a", "unsupported", "needs SM100"), winner=None)
    assert text.warnings_of([nobody])[0].endswith("no winner: no candidate applies")
