"""How a user's own kernels did in a run: against the default, the best, and an earlier run. Numbers and words of
``autotune diff``; no terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.comparing.report import compare
from autotune_cli.measure.statistics import Ratio, paired_ratio
from autotune_cli.results.schema import FAILED, MEASURED, CandidateResult, RunFile, WorkloadResult


@dataclass(frozen=True)
class Against:
    """An own candidate's time against another's."""

    key: str
    label: str
    us: float
    """The other's time: measured, or rough where ``rough``."""
    ratio: float
    """The other's time over the own one: above 1, the own one is faster."""
    interval: tuple[float, float] | None = None
    """99 % interval, of the rounds that both have."""
    rough: bool = False
    """Of the vetting's times, as one of the two was not raced."""


@dataclass(frozen=True)
class OwnCandidate:
    """One of the user's candidates on one workload."""

    result: CandidateResult
    rank: str
    """``winner``, ``tie`` or nothing."""
    default: Against | None
    """None: itself, missing or wrong, or without a time."""
    other: Against | None
    """The fastest that is not the user's own; None: there is none with a time."""
    before: Comparison | None
    """What ``autotune diff`` says; None: not compared, or the earlier run doesn't have the workload."""


@dataclass(frozen=True)
class Before:
    """A candidate in the earlier run."""

    key: str
    label: str
    us: float
    rough: bool


@dataclass(frozen=True)
class OwnWorkload:
    """The user's candidates on one workload: the fastest first, then those without a time."""

    result: WorkloadResult
    candidates: tuple[OwnCandidate, ...]
    in_before: bool
    """Has the earlier run this workload?"""
    best_before: Before | None = None
    """The fastest of the user's there, whatever its knobs."""


@dataclass(frozen=True)
class Earlier:
    """The run that this one is compared with."""

    path: Path
    run: RunFile


def compare_with(earlier: Earlier, path: Path, run: RunFile) -> Report:
    """What ``autotune diff`` says of this run against the earlier one."""
    return compare([LoadedFile(earlier.path, earlier.run)], [LoadedFile(path, run)])


def own_workloads(run: RunFile, own: Collection[str], report: Report | None) -> list[OwnWorkload]:
    """The workloads for which there are own candidates.

    Args:
        own: names of the user's backends.
        report: of this run against an earlier one.
    """
    before: dict[tuple[str, str], Comparison] = {}
    if report is not None and report.refusal is None:
        before = {(each.workload, each.candidate): each for each in report.comparisons}
    known = {workload for workload, _ in before}
    found = []
    for result in run.workloads:
        mine = sorted((one for one in result.candidates if one.backend in own), key=_by_time)
        if mine:
            other = _best_other(result, own)
            rows = tuple(_own(result, one, other, before.get((result.key, one.key))) for one in mine)
            found.append(OwnWorkload(result, rows, result.key in known, _best_before(result.key, own, before.values())))
    return found


def _best_before(workload: str, own: Collection[str], comparisons: Iterable[Comparison]) -> Before | None:
    timed = [
        Before(each.candidate, each.label, us, each.a_us is None)
        for each in comparisons
        if each.workload == workload
        and each.candidate.partition("(")[0] in own
        and each.status_a not in FAILED
        and (us := each.a_us or each.a_rough_us)
    ]
    return min(timed, key=lambda each: (each.rough, each.us), default=None)


def _best_other(result: WorkloadResult, own: Collection[str]) -> str | None:
    """Key of the fastest candidate that is right and not the user's."""
    right = [one for one in result.candidates if one.backend not in own and one.status in MEASURED]
    measured = [one for one in right if one.median_us] or [one for one in right if one.rough_us]
    fastest = min(measured, key=lambda one: one.median_us or one.rough_us or 0.0, default=None)
    return None if fastest is None else fastest.key


def _own(
    result: WorkloadResult, candidate: CandidateResult, fastest: str | None, before: Comparison | None
) -> OwnCandidate:
    baseline, choice = result.baseline(), result.choice
    default = other = None
    rank = ""
    # One that fails has no time, whatever was measured before.
    if candidate.status not in FAILED:
        if baseline is not None and baseline.candidate is not None and baseline.missing is None:
            default = _against(result, candidate, baseline.candidate)
        if fastest is not None:
            other = _against(result, candidate, fastest)
        if choice is not None:
            key = candidate.same_as or candidate.key
            rank = "winner" if key == choice.winner else "tie" if key in choice.tie_set else ""
    return OwnCandidate(candidate, rank, default, other, before)


def _against(result: WorkloadResult, candidate: CandidateResult, key: str) -> Against | None:
    """None: the same one, or one of the two has no time."""
    mine, other = result.timed(candidate), result.timed(result.candidate(key))
    if mine.key == other.key or other.status in FAILED:
        return None
    label = result.candidate(key).label
    ratio = paired_ratio(other.us_by_round, mine.us_by_round)
    if ratio is not None and other.median_us is not None:
        return Against(key, label, other.median_us, ratio.value, _finite(ratio))
    if mine.rough_us and other.rough_us:
        return Against(key, label, other.rough_us, other.rough_us / mine.rough_us, rough=True)
    return None


def _finite(ratio: Ratio) -> tuple[float, float] | None:
    return (ratio.low, ratio.high) if ratio.low > 0.0 else None


def _by_time(candidate: CandidateResult) -> tuple[int, float, str]:
    group = 2 if candidate.status in FAILED else 0 if candidate.median_us else 1
    return group, candidate.median_us or candidate.rough_us or float("inf"), candidate.key
