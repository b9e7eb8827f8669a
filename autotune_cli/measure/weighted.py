"""What the winners gain over a baseline where each workload counts as often as a server runs it. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.results.schema import WorkloadResult


@dataclass(frozen=True)
class WeightedGain:
    """The baseline's time for all steps of a server over the winners' time for them."""

    value: float
    interval: tuple[float, float] | None
    """99 % interval; None where a speed-up has none."""
    workloads: int
    """Workloads with a weight, a winner and a speed-up over the baseline."""
    share: float
    """Of the winners' time, by weight, that these are: less than 1 where the baseline is missing or wrong in some."""


def weighted_gain(results: Sequence[WorkloadResult], baseline: str) -> WeightedGain | None:
    """Sum of weight x the baseline's time over the sum of weight x the winner's; None where no workload has both.

    The baseline's time is the winner's times its speed-up, which was taken from rounds that both have; so the gain is
    the mean of the speed-ups by the time that the winners take. Races are independent, so the speed-ups' errors add up
    as squares.

    Args:
        results: of one device.
    """
    rows = []
    whole = 0.0
    for result in results:
        if result.weight is None or result.choice is None:
            continue
        us = result.candidate(result.choice.winner).median_us
        if us is None:
            continue
        whole += result.weight * us
        held = next((each for each in result.baselines if each.name == baseline), None)
        if held is not None and held.speedup is not None:
            rows.append((result.weight * us, held.speedup, held.speedup_interval))
    time = math.fsum(row[0] for row in rows)
    if not rows or time <= 0.0 or whole <= 0.0:
        return None
    value = math.fsum(own * speedup for own, speedup, _ in rows) / time
    interval = None
    if all(ends is not None for _, _, ends in rows):
        below = math.fsum((own * (speedup - ends[0])) ** 2 for own, speedup, ends in rows if ends is not None)
        above = math.fsum((own * (ends[1] - speedup)) ** 2 for own, speedup, ends in rows if ends is not None)
        interval = (value - math.sqrt(below) / time, value + math.sqrt(above) / time)
    return WeightedGain(value, interval, len(rows), time / whole)
