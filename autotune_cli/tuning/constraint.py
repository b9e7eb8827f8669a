"""What it costs that only candidates may win that keep what is required of them. Numbers only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autotune_cli.measure.statistics import median, paired_ratio
from autotune_cli.results.schema import ConstraintCost


def constraint_cost(
    best: str, times: Mapping[str, Mapping[int, float]], barred: Collection[str]
) -> ConstraintCost | None:
    """Of the fastest candidate that keeps what is required over the fastest of all.

    Args:
        best: key of the fastest that does.
        times: rounds in microseconds by candidate, of candidates that are right.
        barred: those of them that may not win.

    Returns:
        None: the two have no round in common.
    """
    raced = [best, *(key for key in times if key in barred and times[key])]
    without = min(raced, key=lambda key: median(list(times[key].values())))
    if without == best:
        return ConstraintCost(best=best, without=best, ratio=1.0, interval=(1.0, 1.0))
    ratio = paired_ratio(times[best], times[without])
    if ratio is None:
        return None
    interval = (ratio.low, ratio.high) if ratio.low > 0.0 else None
    return ConstraintCost(best=best, without=without, ratio=ratio.value, interval=interval)
