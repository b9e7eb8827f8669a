"""One candidate at the lengths of its workload: prepared once, refilled for each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autotune_cli.kernels.base import LengthPoint

if TYPE_CHECKING:
    from autotune_cli.kernels.family import Problem
    from autotune_cli.worker.launching import Launchable

NO_REFILL = "what is prepared or captured holds for the lengths of one batch only"


def refill(launch: Launchable, problem: Problem) -> None:
    """Have a launch compute a batch of other lengths.

    Raises:
        ValueError: it can't.
    """
    if launch.refill is None:
        raise ValueError(NO_REFILL)
    launch.refill(problem)


def weighted_mean(points: Sequence[LengthPoint], us: Sequence[float]) -> float:
    """Of the times at the points, by their weights."""
    whole = sum(point.weight for point in points)
    return sum(point.weight * time for point, time in zip(points, us, strict=True)) / whole


def fastest_at_points(us: Mapping[str, Sequence[float]]) -> frozenset[str]:
    """At each point the candidate with the lowest time, the first by name of equal ones.

    Args:
        us: times of each candidate at the points, the same number for all that have any.
    """
    seen = sorted(key for key, times in us.items() if times)
    count = len(us[seen[0]]) if seen else 0
    return frozenset(min(seen, key=lambda key: us[key][point]) for point in range(count))
