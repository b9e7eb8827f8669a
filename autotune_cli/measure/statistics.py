"""Statistics of rounds. Plain functions over numbers; of libraries numpy only.

The unit of inference is the round, not the iteration: iterations of one round share clock and temperature, so
they are not independent. Candidates of one round are compared with each other (paired), which removes what
changes between rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autotune_cli.measure import student

# Rounds of one process repeat within 0.1-0.35 % on an H200 (docs/benchmarks.md). A few rounds can by luck agree far
# better than that, so a spread below this is not believed.
SMALLEST_SPREAD = 0.001

# Degrees of freedom up to which Student's t is used for 99 % intervals; beyond, the normal distribution's quantile is.
_MOST_DEGREES = 30
_Z99 = 2.576
_LARGEST_LOG = 700.0


class Ratio(NamedTuple):
    """A ratio of times with its interval."""

    value: float
    low: float
    high: float


def t99(degrees: int) -> float:
    """Two-sided 99 % quantile of Student's t, to three decimals: intervals in files are made with it."""
    if degrees < 1:
        return math.inf
    return round(student.quantile(0.99, degrees), 3) if degrees <= _MOST_DEGREES else _Z99


def median(values: Sequence[float]) -> float:
    """The middle value.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values")
    return float(statistics.median(values))


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


def expected_ratio(ratio: Ratio, rounds: int, later: int, comparisons: int = 1) -> Ratio:
    """What the interval of a :func:`paired_ratio` of ``rounds`` rounds is after ``later`` of them, if the further ones
    are like those so far. After one round nothing is known of them, and all is hoped for.
    """
    shrunk = _t(later - 1, comparisons) / _t(rounds - 1, comparisons) * math.sqrt(rounds / later)
    low, high = (ratio.value * (bound / ratio.value) ** shrunk for bound in (ratio.low, ratio.high))
    return Ratio(ratio.value, low, high)


def _t(degrees: int, comparisons: int) -> float:
    if comparisons <= 1 or degrees < 1:
        return t99(degrees)
    return student.quantile(1.0 - 0.01 / comparisons, degrees)


def _interval(logs: np.ndarray, comparisons: int) -> Ratio:
    center = float(np.median(logs)) if len(logs) > 2 else float(np.mean(logs))
    if len(logs) < 2:
        return Ratio(math.exp(center), 0.0, math.inf)
    spread = max(float(np.std(logs, ddof=1)), SMALLEST_SPREAD)
    half = min(_t(len(logs) - 1, comparisons) * spread / math.sqrt(len(logs)), _LARGEST_LOG)
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
