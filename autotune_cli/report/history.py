"""The rounds of a workload in the order of time, with the SM clock of each."""

from __future__ import annotations

from autotune_cli.render.run_rows import role
from autotune_cli.report.model import Clock, History, Series
from autotune_cli.results.schema import CandidateResult, Conditions, WorkloadResult


def history_of(result: WorkloadResult) -> History | None:
    """None: no candidate was measured in rounds. Those that were measured most often come first."""
    measured = [candidate for candidate in result.candidates if candidate.rounds]
    if not measured:
        return None
    seen = {number for candidate in measured for number in candidate.rounds}
    seen |= {reading.round for reading in result.conditions} | set(result.noise_rounds)
    rounds = tuple(sorted(seen))
    readings = {reading.round: reading for reading in result.conditions}
    series = [_series(result, candidate, rounds) for candidate in sorted(measured, key=_order)]
    again = _second_copy(result, rounds)
    return History(
        rounds=rounds,
        series=(*series, *([again] if again is not None else [])),
        clocks=tuple(_clock(readings.get(number)) for number in rounds),
    )


def _order(candidate: CandidateResult) -> tuple[bool, int, float]:
    return candidate.status != "ok", -len(candidate.rounds), candidate.median_us or 0.0


def _series(result: WorkloadResult, candidate: CandidateResult, rounds: tuple[int, ...]) -> Series:
    held = [each.name for each in result.baselines if each.candidate == candidate.key]
    marks = ", ".join(filter(None, (role(result, candidate), *held)))
    times = candidate.us_by_round
    return Series(candidate.label, candidate.status, marks, tuple(times.get(number) for number in rounds))


def _second_copy(result: WorkloadResult, rounds: tuple[int, ...]) -> Series | None:
    """The copy of a candidate whose times say what noise is."""
    if result.noise_of is None or not result.noise_rounds_us:
        return None
    of = next((each.label for each in result.candidates if each.key == result.noise_of), result.noise_of)
    times = dict(zip(result.noise_rounds, result.noise_rounds_us, strict=False))
    return Series(of, "ok", "second copy, for the noise", tuple(times.get(number) for number in rounds))


def _clock(reading: Conditions | None) -> Clock | None:
    if reading is None:
        return None
    return Clock(reading.sm_clock_mhz, ", ".join(reading.throttle), reading.dropped)
