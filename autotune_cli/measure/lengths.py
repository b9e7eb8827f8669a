"""What one choice for all lengths of a workload loses at each, and what a choice made at one loses at the others.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune_cli.measure.statistics import median, paired_ratio
from autotune_cli.results.schema import MEASURED, CandidateResult, WorkloadResult


@dataclass(frozen=True)
class AtLength:
    """The choice and the best candidate at one of a workload's lengths. Times are medians over rounds."""

    context: int
    share: float
    """Of all lengths, by weight."""
    choice_us: float
    best: CandidateResult
    """The choice where no other is faster beyond the interval of their ratio (99 %, for all candidates together)."""
    best_us: float
    loss: float
    """The choice's time over the best one's, less 1."""
    best_over_all: float
    """Time of the best one over all lengths, over the choice's, less 1: what choosing it would lose."""
    best_at_worst: float
    """Its time over that of the best one at the length where that is most, less 1."""


def at_lengths(result: WorkloadResult) -> tuple[AtLength, ...]:
    """One for each of the workload's points; none where it has none, no choice, or was not measured at them."""
    points, choice = result.workload.length_points, result.choice
    if not points or choice is None:
        return ()
    winner = result.candidate(choice.winner)
    measured = [each for each in result.candidates if each.status in MEASURED and each.points_us]
    if winner not in measured:
        return ()
    times = [{each.key: _at(each, index) for each in measured} for index in range(len(points))]
    best = [_best(each, winner.key) for each in times]
    middle = [{key: median(list(rounds.values())) for key, rounds in each.items()} for each in times]
    whole = sum(point.weight for point in points)
    found = []
    for point, key, us in zip(points, best, middle, strict=True):
        over_all = paired_ratio(result.candidate(key).us_by_round, winner.us_by_round)
        worst = max(us_there[key] / us_there[best_there] for us_there, best_there in zip(middle, best, strict=True))
        found.append(
            AtLength(
                context=point.context,
                share=point.weight / whole,
                choice_us=us[winner.key],
                best=result.candidate(key),
                best_us=us[key],
                loss=us[winner.key] / us[key] - 1.0,
                best_over_all=0.0 if key == winner.key or over_all is None else over_all.value - 1.0,
                best_at_worst=worst - 1.0,
            )
        )
    return tuple(found)


def _at(candidate: CandidateResult, index: int) -> dict[int, float]:
    """Times by round at one of the lengths."""
    return {number: us[index] for number, us in zip(candidate.rounds, candidate.points_us, strict=True)}


def _best(times: Mapping[str, Mapping[int, float]], choice: str) -> str:
    """The fastest of those that are certainly faster than the choice, or the choice."""
    faster = [
        key
        for key, rounds in times.items()
        if key != choice and (ratio := paired_ratio(times[choice], rounds, len(times))) is not None and ratio.low > 1.0
    ]
    return min(faster, key=lambda key: (median(list(times[key].values())), key), default=choice)
