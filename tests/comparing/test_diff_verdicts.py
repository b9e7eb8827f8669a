from __future__ import annotations

import math
from dataclasses import replace

import pytest
from diff_builders import FAST, SLOW, candidate, failed, found, noisy, report, result, run, session
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_cli.comparing.decisions import DecisionRule, Reason, Timing, decide, judge
from autotune_cli.comparing.records import ReportKind
from autotune_cli.comparing.statistics import Difference, Estimate
from autotune_cli.comparing.verdicts import ChangeVerdict

SIDE = Estimate(math.log(100.0), 1e-6, 20.0, 1, 10)
TIMING = Timing(SIDE, SIDE)


def judged(value: float, half: float, p: float, **changes: object) -> tuple[ChangeVerdict, tuple[Reason, ...]]:
    timing = replace(TIMING, **changes)  # type: ignore[arg-type]
    decision = judge(timing, Difference(value, value - half, value + half, p), p, DecisionRule())
    return decision.verdict, decision.reasons


def test_slower_and_faster_need_evidence_and_size() -> None:
    assert judged(0.03, 0.005, 1e-6)[0] == ChangeVerdict.SLOWER
    assert judged(-0.03, 0.005, 1e-6)[0] == ChangeVerdict.FASTER
    assert judged(0.03, 0.04, 0.2)[0] == ChangeVerdict.AMBIGUOUS
    assert judged(0.005, 0.001, 1e-6) == (ChangeVerdict.SAME, (Reason.WITHIN_THRESHOLD,))
    assert judged(0.006, 0.005, 1e-6) == (ChangeVerdict.AMBIGUOUS, (Reason.SIGNIFICANT, Reason.BELOW_THRESHOLD))
    assert judged(0.0, 0.02, 0.9)[1] == (Reason.NOT_SIGNIFICANT, Reason.BELOW_THRESHOLD, Reason.WIDE_INTERVAL)


def test_a_slow_down_of_just_the_threshold_is_found_when_it_is_measured_a_little_smaller() -> None:
    assert judged(0.0085, 0.003, 1e-5)[0] == ChangeVerdict.SLOWER
    assert judged(0.0085, 0.001, 1e-9)[0] == ChangeVerdict.SAME  # proven to be below it


def test_the_noise_floor_raises_the_threshold() -> None:
    assert judged(0.03, 0.005, 1e-6, noise=0.05)[0] == ChangeVerdict.SAME
    assert judged(0.03, 0.03, 1e-6, noise=0.05)[0] == ChangeVerdict.AMBIGUOUS


def test_dropped_rounds_and_another_clock_make_it_ambiguous() -> None:
    assert judged(0.03, 0.005, 1e-6, dropped=0.1)[0] == ChangeVerdict.SLOWER
    assert judged(0.03, 0.005, 1e-6, dropped=0.3)[1][-1] == Reason.ROUNDS_DROPPED
    assert judged(0.03, 0.005, 1e-6, clock_log_ratio=0.028)[1][-1] == Reason.CLOCK_DIFFERS
    assert judged(0.03, 0.005, 1e-6, clock_log_ratio=-0.028)[0] == ChangeVerdict.SLOWER  # the clock was faster
    assert judged(0.03, 0.005, 1e-6, clock_log_ratio=0.01)[0] == ChangeVerdict.SLOWER  # explains a third
    assert judged(-0.03, 0.005, 1e-6, clock_log_ratio=-0.028)[1][-1] == Reason.CLOCK_DIFFERS


@given(st.floats(-0.1, 0.1), st.floats(1e-6, 0.1), st.floats(0.0, 1.0), st.floats(0.0, 0.03), st.floats(-0.1, 0.1))
def test_a_mirrored_difference_has_the_mirrored_verdict(
    value: float, half: float, p: float, noise: float, clock: float
) -> None:
    there = judged(value, half, p, noise=noise, clock_log_ratio=clock)
    back = judged(-value, half, p, noise=noise, clock_log_ratio=-clock)
    mirror = {ChangeVerdict.SLOWER: ChangeVerdict.FASTER, ChangeVerdict.FASTER: ChangeVerdict.SLOWER}
    assert back == (mirror.get(there[0], there[0]), there[1])


def test_a_slow_down_in_a_run_is_found_and_nothing_else() -> None:
    compared = report(session(1), session(2, {SLOW: 1.05}))
    assert {c.candidate for c in compared.comparisons if c.verdict == ChangeVerdict.SLOWER} == {SLOW}
    assert compared.count(ChangeVerdict.SLOWER) == 3
    assert compared.count(ChangeVerdict.SAME) == 3
    assert report(session(1), session(2), threshold=0.025).count(ChangeVerdict.SAME) == 6
    row = found(compared, SLOW)
    assert row.decision.ratio == pytest.approx(1.05, rel=0.004)
    assert row.decision.interval is not None
    assert row.decision.interval[0] < row.decision.ratio < row.decision.interval[1]
    assert row.decision.p is not None
    assert row.decision.p < 0.001
    assert compared.kind == ReportKind.SINGLE
    assert row.sessions == (1, 1)


def test_many_sessions_show_one_in_a_hundred_more_sharply() -> None:
    factor = {SLOW: 1.012}
    single = report(session(1), session(10, factor))
    assert single.kind == ReportKind.SINGLE
    many = report([session(i) for i in range(5)], [session(10 + i, factor) for i in range(5)])
    assert many.kind == ReportKind.REPEATED
    assert many.count(ChangeVerdict.SLOWER) == 3
    assert found(many, SLOW).sessions == (5, 5)
    widths = [c.interval[1] - c.interval[0] for c in (found(r, SLOW).decision for r in (single, many)) if c.interval]
    assert widths[1] < 0.6 * widths[0]
    assert many.sessions == (5, 5)


def test_sessions_that_scatter_hide_what_one_of_them_would_show() -> None:
    """Pooled rounds would say 'slower' here; sessions don't."""
    a = [session(i, {FAST: factor, SLOW: factor}) for i, factor in enumerate((1.0, 1.03, 0.98, 1.02))]
    b = [session(9 + i, {FAST: factor, SLOW: factor}) for i, factor in enumerate((1.03, 1.01, 1.04, 0.99))]
    assert report(a, b).count(ChangeVerdict.SLOWER) == 0


@pytest.mark.parametrize("status", ["incorrect", "error", "timeout", "crashed", "out_of_memory", "unavailable"])
def test_a_changed_status(status: str) -> None:
    good, bad = candidate(SLOW, noisy(50, 2)), failed(SLOW, status)
    first = candidate(FAST, noisy(40, 1))
    a, b = run(result((first, good))), run(result((first, bad)))
    there, back = found(report(a, b), SLOW), found(report(b, a), SLOW)
    assert there.verdict == back.verdict == ChangeVerdict.STATUS
    assert there.decision.reasons == (Reason.STATUS_WORSE,)
    assert there.detail == "wrong on normal: misses 21 of 2048"
    assert back.decision.reasons == (Reason.STATUS_BETTER,)
    assert (there.status_a, there.status_b) == ("ok", status)
    assert there.decision.ratio is None


def test_failing_otherwise_is_a_change_and_failing_alike_is_not() -> None:
    first = candidate(FAST, noisy(40, 1))
    a, b = run(result((first, failed(SLOW, "error")))), run(result((first, failed(SLOW, "timeout"))))
    assert found(report(a, b), SLOW).decision.reasons == (Reason.STATUS_OTHER,)
    assert found(report(a, a), SLOW).decision.reasons == (Reason.NO_ROUNDS,)


def test_a_candidate_that_was_too_slow_to_be_raced_has_no_time_verdict() -> None:
    first, raced, slow = candidate(FAST, noisy(40, 1)), candidate(SLOW, noisy(50, 2)), candidate(SLOW, rough_us=70.0)
    a, b = run(result((first, raced))), run(result((first, slow)))
    assert found(report(a, b), SLOW).decision.reasons == (Reason.ROUNDS_ONLY_IN_A,)
    assert found(report(b, a), SLOW).decision.reasons == (Reason.ROUNDS_ONLY_IN_B,)
    assert found(report(b, b), SLOW).verdict == ChangeVerdict.ELIMINATED


def test_candidates_of_one_side_only() -> None:
    first, second = candidate(FAST, noisy(40, 1)), candidate(SLOW, noisy(50, 2))
    a, b = run(result((first, second))), run(result((first,)))
    assert found(report(a, b), SLOW).verdict == ChangeVerdict.ONLY_A
    assert found(report(b, a), SLOW).verdict == ChangeVerdict.ONLY_B


def test_one_round_each_shows_a_large_change_only() -> None:
    first = candidate(FAST, noisy(40, 1))

    def other(us: float) -> object:
        return report(run(result((first, candidate(SLOW, (50.0,))))), run(result((first, candidate(SLOW, (us,))))))

    assert found(other(60.0), SLOW).verdict == ChangeVerdict.SLOWER  # type: ignore[arg-type]
    close = found(other(50.3), SLOW)  # type: ignore[arg-type]
    assert close.verdict == ChangeVerdict.AMBIGUOUS
    assert Reason.FEW_ROUNDS in close.decision.reasons


def test_many_that_dropped_out_do_not_blunt_what_is_said_of_contenders() -> None:
    losers = [f"lib.loser(n={i})" for i in range(300)]

    def with_losers(seed: int, factor: float) -> object:
        times = [candidate(FAST, noisy(400 * factor, seed))]
        times += [candidate(key, noisy(500, (seed, key), count=1)) for key in losers]
        return run(result(times, when=f"2026-11-21T09:{seed:02d}:00Z"))

    alone = report(session(1), session(2))
    assert alone.count(ChangeVerdict.SLOWER) == 0
    compared = report(with_losers(1, 1.0), with_losers(2, 1.032))  # type: ignore[arg-type]
    assert found(compared, FAST).verdict == ChangeVerdict.SLOWER
    assert compared.count(ChangeVerdict.FASTER) == 0
    contender = Timing(replace(SIDE, center=0.0), replace(SIDE, center=0.013, variance=8e-6))
    loser = replace(TIMING, few_rounds=True)
    assert decide([contender, *[loser] * 300], DecisionRule())[0].verdict == ChangeVerdict.SLOWER
    assert decide([contender, *[TIMING] * 300], DecisionRule())[0].verdict == ChangeVerdict.AMBIGUOUS


def test_wrong_candidates_have_no_times_even_where_they_have_rounds() -> None:
    wrong = candidate(SLOW, noisy(5, 2), status="incorrect", reason="misses 3")
    one = run(result((candidate(FAST, noisy(40, 1)), wrong)))
    assert found(report(one, session(3, batches=(64,))), SLOW).decision.reasons == (Reason.STATUS_BETTER,)
    two = run(result((candidate(FAST, noisy(40, 1)), wrong.model_copy(update={"rounds_us": noisy(9, 2)}))))
    assert found(report(one, two), SLOW).decision.reasons == (Reason.NO_ROUNDS,)


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 29), st.integers(30, 59)),
    factor=st.floats(0.5, 2.0),
    batches=st.tuples(st.sets(st.integers(1, 4), min_size=1), st.sets(st.integers(1, 4), min_size=1)),
    extra=st.sampled_from(["", "a", "b"]),
    status=st.sampled_from([None, "incorrect", "timeout"]),
    sessions=st.integers(1, 3),
)
def test_diff_b_a_mirrors_diff_a_b(
    seeds: tuple[int, int],
    factor: float,
    batches: tuple[set[int], set[int]],
    extra: str,
    status: str | None,
    sessions: int,
) -> None:
    a = [session(seeds[0] + 60 * i, batches=sorted(batches[0])) for i in range(sessions)]
    b = [session(seeds[1] + 60 * i, {FAST: factor}, batches=sorted(batches[1])) for i in range(sessions)]
    if status is not None:
        b = [_spoiled(item, status) for item in b]
    if extra:
        side = a if extra == "a" else b
        side[:] = [_with_extra(item) for item in side]
    there, back = report(a, b), report(b, a)
    assert (there.refusal is None) == (back.refusal is None) == bool(batches[0] & batches[1])
    mirror = {
        ChangeVerdict.SLOWER: ChangeVerdict.FASTER,
        ChangeVerdict.FASTER: ChangeVerdict.SLOWER,
        ChangeVerdict.ONLY_A: ChangeVerdict.ONLY_B,
        ChangeVerdict.ONLY_B: ChangeVerdict.ONLY_A,
    }
    other = {(c.workload, c.candidate): c for c in back.comparisons}
    assert len(other) == len(there.comparisons)
    for c in there.comparisons:
        twin = other[c.workload, c.candidate]
        assert twin.verdict == mirror.get(c.verdict, c.verdict)
        assert (twin.a_us, twin.b_us, twin.status_a, twin.status_b) == (c.b_us, c.a_us, c.status_b, c.status_a)
        if c.decision.ratio is not None and c.decision.interval is not None:
            assert twin.decision.ratio == pytest.approx(1 / c.decision.ratio, rel=1e-12)
            assert twin.decision.interval == pytest.approx((1 / c.decision.interval[1], 1 / c.decision.interval[0]))
            assert twin.decision.p == c.decision.p
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)
    for one, two in zip(there.choices, sorted(back.choices, key=_order(there)), strict=True):
        assert one.decision.verdict == two.decision.verdict
        assert (one.decision.a, one.decision.b) == (two.decision.b, two.decision.a)
    for mean in there.means:
        twin_mean = next(m for m in back.means if (m.of, m.operation) == (mean.of, mean.operation))
        assert twin_mean.value == pytest.approx(1 / mean.value, rel=1e-12)
        assert twin_mean.low == pytest.approx(1 / mean.high, rel=1e-9)


def _order(there: object):  # type: ignore[no-untyped-def]
    position = {choice.workload: i for i, choice in enumerate(there.choices)}  # type: ignore[attr-defined]
    return lambda choice: position[choice.workload]


def _spoiled(item, status: str):  # type: ignore[no-untyped-def]
    results = [
        r.model_copy(update={"candidates": (failed(SLOW, status, default=True), *r.candidates[1:])})
        for r in item.workloads
    ]
    return item.model_copy(update={"workloads": tuple(results)})


def _with_extra(item):  # type: ignore[no-untyped-def]
    extra = candidate("lib.extra", (77.0, 77.1, 77.2))
    results = [r.model_copy(update={"candidates": (*r.candidates, extra)}) for r in item.workloads]
    return item.model_copy(update={"workloads": tuple(results)})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(min_value=1e-6, max_value=1e9), min_size=1, max_size=5), min_size=1, max_size=4),
    st.floats(0, 1),
)
def test_diff_a_a_is_all_same_whatever_is_in_it(rounds: list[list[float]], noise: float) -> None:
    times = [candidate(f"lib.c(n={i})", values) for i, values in enumerate(rounds)]
    a = run(result(times), noise_floor=noise)
    compared = report(a, a)
    assert {c.verdict for c in compared.comparisons} == {ChangeVerdict.SAME}
    assert {c.decision.ratio for c in compared.comparisons} == {1.0}
    assert {(m.value, m.low, m.high) for m in compared.means} == {(1.0, 1.0, 1.0)}
    assert not compared.environment
    assert {choice.decision.verdict.value for choice in compared.choices} == {"unchanged"}


def test_a_measurement_on_both_sides_is_named() -> None:
    shared, other = session(1), session(2)
    compared = report([shared, other], shared)
    assert any("share measurements" in note for note in compared.notes)
    assert not report(shared, shared).notes


def test_a_copy_of_a_measurement_is_no_second_session() -> None:
    one = session(1)
    compared = report([one, one], session(2))
    assert compared.sessions == (1, 1)
    assert any("copies" in note for note in compared.notes)
