"""Statistics of rounds. Plain functions over numbers; imports numpy only.

The unit of inference is the round, not the iteration: iterations of one round share clock and temperature, so
they are not independent. Candidates of one round are compared with each other (paired), which removes what
changes between rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Rounds of one process repeat within 0.1-0.35 % on an H200 (docs/benchmarks.md). A few rounds can by luck agree far
# better than that, so a spread below this is not believed.
SMALLEST_SPREAD = 0.001

# Two-sided 99 % quantiles of Student's t for 1, 2, ... 30 degrees of freedom; beyond, the normal's.
_T99 = (
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169,
    3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845,
    2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
)  # fmt: skip
_Z99 = 2.576
_LARGEST_LOG = 700.0
_LARGEST_T = 1e12


class Ratio(NamedTuple):
    """A ratio of times with its interval."""

    value: float
    low: float
    high: float


def t99(degrees: int) -> float:
    """Two-sided 99 % quantile of Student's t."""
    if degrees < 1:
        return math.inf
    return _T99[degrees - 1] if degrees <= len(_T99) else _Z99


@lru_cache(maxsize=256)
def t_quantile(tail: float, degrees: int) -> float:
    """Where Student's t has ``tail`` of its weight on both sides together, by the finite sums for whole degrees of
    freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    if degrees < 1:
        return math.inf
    low, high = 0.0, 1.0
    while _two_tails(high, degrees) > tail and high < _LARGEST_T:
        high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _two_tails(middle, degrees) > tail else (low, middle)
    return high


def _two_tails(t: float, degrees: int) -> float:
    theta = math.atan(t / math.sqrt(degrees))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    term = math.cos(theta) if degrees % 2 else 1.0
    total = 0.0
    for k in range(degrees % 2 + 1, degrees, 2):
        total += term
        term *= square * k / (k + 1)
    inside = (theta + sine * total) * 2.0 / math.pi if degrees % 2 else sine * total
    return 1.0 - inside


def median(values: Sequence[float]) -> float:
    """The middle value.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values")
    return float(np.median(np.asarray(values, dtype=np.float64)))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval for the median, at 95 % or just above, from order statistics: no assumption on the distribution.

    Below six values no pair of order statistics reaches 95 %: then the whole range.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        raise ValueError("no values")
    # Coverage of (x[k], x[n-1-k]) is 1 - 2 P(Binomial(n, 1/2) <= k).
    k, tail = -1, 0.0
    while True:
        tail += math.comb(n, k + 1) / 2.0**n
        if 1.0 - 2.0 * tail < 0.95:
            break
        k += 1
    k = max(k, 0)
    return ordered[k], ordered[n - 1 - k]


def paired_ratio(times: Mapping[int, float], base: Mapping[int, float], comparisons: int = 1) -> Ratio | None:
    """``times`` over ``base`` in the rounds that both have, with a 99 % interval (t on log ratios).

    None without a common round. One common round gives an infinite interval. ``comparisons``: out of how many the
    pair was picked for its ratio; all of their intervals hold at 99 % together (Bonferroni).
    """
    common = sorted(set(times) & set(base))
    if not common:
        return None
    logs = np.log([times[i] / base[i] for i in common])
    return _interval(logs, comparisons)


def _interval(logs: np.ndarray, comparisons: int) -> Ratio:
    center = float(np.median(logs)) if len(logs) > 2 else float(np.mean(logs))
    if len(logs) < 2:
        return Ratio(math.exp(center), 0.0, math.inf)
    spread = max(float(np.std(logs, ddof=1)), SMALLEST_SPREAD)
    t = t99(len(logs) - 1) if comparisons <= 1 else t_quantile(0.01 / comparisons, len(logs) - 1)
    half = min(t * spread / math.sqrt(len(logs)), _LARGEST_LOG)
    # Two rounds that have nothing in common can have an interval beyond what a float holds.
    high = math.exp(min(center + half, _LARGEST_LOG))
    return Ratio(math.exp(center), math.exp(max(center - half, -_LARGEST_LOG)), high)


def geometric_mean(ratios: Sequence[float], seed: int = 0) -> Ratio | None:
    """Geometric mean of ratios with a 95 % bootstrap interval over the ratios (fixed seed); None without any."""
    if not ratios:
        return None
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    value = math.exp(float(logs.mean()))
    if len(logs) == 1:
        return Ratio(value, value, value)
    generator = np.random.default_rng(seed)
    means = logs[generator.integers(0, len(logs), size=(2000, len(logs)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Ratio(value, math.exp(float(low)), math.exp(float(high)))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Linear-interpolated percentile, or None without values."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent)) if values else None
