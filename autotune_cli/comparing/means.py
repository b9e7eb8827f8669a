"""Geometric means of ratios with an interval. Plain functions over numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from autotune_cli.comparing import student


class LogRatio(NamedTuple):
    """One comparison."""

    workload: str
    value: float
    """log(B / A)."""
    half: float
    """Half the width of its interval."""


def log_mean(ratios: Sequence[LogRatio], coverage: float) -> tuple[float, float, float] | None:
    """Mean of the logarithms with its interval, and None without any.

    Candidates of a workload were measured together, so the workload is the unit: the interval is Student's over the
    workloads' means, and at least what the comparisons' own intervals add up to.
    """
    if not ratios:
        return None
    groups: dict[str, list[LogRatio]] = {}
    for ratio in ratios:
        groups.setdefault(ratio.workload, []).append(ratio)
    centers = [math.fsum(ratio.value for ratio in group) / len(group) for group in groups.values()]
    halves = [math.fsum(ratio.half for ratio in group) / len(group) for group in groups.values()]
    n = len(centers)
    mean = math.fsum(centers) / n
    half = math.sqrt(math.fsum(h * h for h in halves)) / n
    if n > 1:
        spread = math.sqrt(math.fsum((center - mean) ** 2 for center in centers) / (n - 1))
        half = max(half, student.quantile(coverage, n - 1) * spread / math.sqrt(n))
    return mean, mean - half, mean + half
