"""How well one side's time is known. Plain functions over numbers.

The model, on the logarithm of times: a session (one run, in processes of its own) adds an effect of its own, and each
round adds noise. One session's rounds show the second only, so the first is taken from measurements on an H200 until
enough sessions show it themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import NamedTuple

from autotune_cli.measure import student
from autotune_cli.measure.statistics import SMALLEST_SPREAD

# Standard deviation of a session's effect, beyond what its rounds show: relative, and in absolute time (CUPTI counts
# in steps of 32 ns). From H200 runs of the same code, 'benchmarks/diff_aa.py --calibrate': docs/benchmarks-diff.md.
SESSION_SPREAD = 0.0015
SESSION_SPREAD_US = 0.02
# Of the difference between two cards of the same product: an H200's decode was 1.2 % faster than another's on average,
# single kernels by up to 3 %. From a few pairs of cards, hence so few degrees.
CARD_SPREAD = 0.012
CARD_DEGREES = 5.0
# The same for candidates that dropped out of the race after one or two rounds.
FEW_ROUNDS_SPREAD = 0.01
# Where rounds scatter by more than STEADY (a power cap, a CPU that others use too), sessions do as well: never less
# than this share of the rounds' spread.
STEADY = 0.01
SESSION_SHARE = 0.5
# How many degrees of freedom these figures are worth beside what is seen of the sessions at hand. Fewer than went into
# them, as kernels differ in how far their sessions scatter.
SESSION_DEGREES = 10.0
# The same for the rounds' spread, which candidates with many rounds lend to those with few.
ROUND_DEGREES = 4.0
# Where no candidate of a side has rounds enough to show a spread.
UNKNOWN_SPREAD = 0.01
# Rounds from which a candidate shows its own spread, and counts as a contender.
ENOUGH_ROUNDS = 3
# From so many rounds on the lowest and the highest are left out and the others' mean is taken: as safe from one odd
# round as a median, and far more precise.
_TRIM = 5
# Sampling variance over that of a mean, for normal noise: of a median of many values, of that trimmed mean of five.
_MEDIAN, _TRIMMED = math.pi / 2.0, 1.15
# Candidates from which their median says how far sessions scatter.
_MANY = 10
# From here on a series can show that its rounds hang together.
_SERIES = 6
# Correlations below this over the root of the rounds' number come by chance.
_BY_CHANCE = 1.6
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Estimate:
    """One side's time of one candidate, on the logarithmic scale (of microseconds)."""

    center: float
    variance: float
    """Of ``center``, between sessions and within."""
    degrees: float
    """Of freedom that ``variance`` has."""
    sessions: int
    rounds: int
    """In all sessions."""

    @property
    def us(self) -> float:
        """The time in microseconds: the geometric mean of the sessions' times, see :func:`middle_of`."""
        return math.exp(self.center)


class Difference(NamedTuple):
    """B over A on the logarithmic scale."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, not corrected for the number of comparisons."""


def ratio_of(log: float) -> float:
    """``exp`` that neither overflows nor becomes zero."""
    if -_LARGEST_LOG < log < _LARGEST_LOG:
        return math.exp(log)
    return math.exp(min(max(log, -_LARGEST_LOG), _LARGEST_LOG))


def median(values: Sequence[float]) -> float:
    """The middle value of at least one. The standard library's takes twice the time, and every candidate has three."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def log_spread(rounds_us: Sequence[float]) -> float:
    """Standard deviation of the logarithms, 0 for fewer than two values."""
    return math.sqrt(_variance(list(map(math.log, rounds_us))))


def typical_spread(spreads: Sequence[float]) -> float:
    """What candidates with few rounds are taken to scatter like: the root mean square of the others' spreads."""
    if not spreads:
        return UNKNOWN_SPREAD
    return max(math.sqrt(sum(spread * spread for spread in spreads) / len(spreads)), SMALLEST_SPREAD)


def session_variance(us: float, spread: float, rounds: int = ENOUGH_ROUNDS) -> float:
    """Variance of a session's effect on a kernel of that time with that many rounds, from the calibration."""
    relative = SESSION_SPREAD if rounds >= ENOUGH_ROUNDS else FEW_ROUNDS_SPREAD
    known = relative**2 + min(SESSION_SPREAD_US / us, 1.0) ** 2
    return max(known, (SESSION_SHARE * spread) ** 2) if spread > STEADY else known


def round_variance(rounds_us: Sequence[float], typical: float) -> tuple[float, float]:
    """Variance of the middle of one session's rounds (:func:`middle_of`), and its degrees of freedom.

    Args:
        rounds_us: at least one.
        typical: spread of the neighbours' rounds, with the weight of ``ROUND_DEGREES`` degrees.
    """
    offsets, total = _scatter(list(map(math.log, rounds_us)))
    n = len(offsets)
    own = max(total / (n - 1) if n > 1 else 0.0, SMALLEST_SPREAD**2)
    degrees = ROUND_DEGREES + n - 1
    spread2 = (ROUND_DEGREES * typical * typical + (n - 1) * own) / degrees
    factor = _TRIMMED if n >= _TRIM else _MEDIAN if n >= ENOUGH_ROUNDS else 1.0
    return factor * spread2 / _independent(offsets, total), degrees


def estimate(sessions: Sequence[Sequence[float]], typical: Sequence[float], scale: float = 1.0) -> Estimate:
    """One side's time from the rounds (microseconds) of each of its sessions.

    Args:
        sessions: one sequence of rounds a session; none is empty.
        typical: of each session, see :func:`typical_spread`.
        scale: see :func:`session_scale`.

    Raises:
        ValueError: no sessions.
    """
    if not sessions:
        raise ValueError("no sessions")
    k = len(sessions)
    if k == 1:
        return _of_one_session(sessions[0], typical[0])
    centers = [middle_of(rounds) for rounds in sessions]
    center = math.fsum(centers) / k
    within = [round_variance(rounds, spread)[0] for rounds, spread in zip(sessions, typical, strict=True)]
    between = session_variance(math.exp(center), math.fsum(typical) / k, min(map(len, sessions)))
    degrees = SESSION_DEGREES + k - 1
    seen = (k - 1) * _variance(centers)
    variance = (SESSION_DEGREES * (between + sum(within) / k) * scale + seen) / degrees
    return Estimate(center, variance / k, degrees, k, sum(map(len, sessions)))


def _of_one_session(rounds_us: Sequence[float], typical: float) -> Estimate:
    center = middle_of(rounds_us)
    within, degrees = round_variance(rounds_us, typical)
    between = session_variance(math.exp(center), typical, len(rounds_us))
    variance = between + within
    degrees = variance**2 / (between**2 / SESSION_DEGREES + within**2 / degrees)
    return Estimate(center, variance, degrees, 1, len(rounds_us))


def session_scale(candidates: Sequence[tuple[Sequence[Sequence[float]], Sequence[float]]]) -> float:
    """How much more the sessions of a side scatter than the calibration says, as a factor of the variance; 1 at least.

    Args:
        candidates: sessions and typical spreads of each, as for :func:`estimate`; those with one session say nothing.
    """
    ratios = []
    degrees = 1
    for sessions, typical in candidates:
        if len(sessions) < 2:
            continue
        degrees = max(degrees, len(sessions) - 1)
        centers = [middle_of(rounds) for rounds in sessions]
        fewest = min(map(len, sessions))
        expected = session_variance(math.exp(sum(centers) / len(centers)), sum(typical) / len(typical), fewest)
        expected += sum(round_variance(rounds, spread)[0] for rounds, spread in zip(sessions, typical, strict=True)) / (
            len(sessions)
        )
        ratios.append(_variance(centers) / expected)
    if not ratios:
        return 1.0
    if len(ratios) < _MANY:
        return max(1.0, math.fsum(ratios) / len(ratios))
    # One kernel under the power cap must not blunt all others: the median, as a share of what it is for normal noise
    # (Wilson and Hilferty).
    return max(1.0, median(ratios) / (1.0 - 2.0 / (9.0 * degrees)) ** 3)


def difference(a: Estimate, b: Estimate, coverage: float, same_card: bool = True) -> Difference:
    """B against A: Welch's t on logarithms, with an interval of that coverage."""
    value = b.center - a.center
    card = 0.0 if same_card else CARD_SPREAD**2
    variance = a.variance + b.variance + card
    parts = a.variance**2 / a.degrees + b.variance**2 / b.degrees + card**2 / CARD_DEGREES
    degrees = variance**2 / parts
    error = math.sqrt(variance)
    half = student.quantile(coverage, degrees) * error
    return Difference(value, value - half, value + half, student.two_sided_p(value / error, degrees))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given: the chance of even one false alarm among them all."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _variance(values: Sequence[float]) -> float:
    return _scatter(values)[1] / (len(values) - 1) if len(values) > 1 else 0.0


def _scatter(values: Sequence[float]) -> tuple[list[float], float]:
    """Distance of each of the values from their mean, and the sum of their squares."""
    mean = math.fsum(values) / len(values)
    offsets = [value - mean for value in values]
    return offsets, math.fsum([offset**2 for offset in offsets])


def middle_of(rounds_us: Sequence[float]) -> float:
    """Where one session's rounds lie, on the logarithmic scale: their median, of five and more a trimmed mean."""
    if len(rounds_us) < _TRIM:
        return math.log(median(rounds_us))
    kept = sorted(map(math.log, rounds_us))[1:-1]
    return math.fsum(kept) / len(kept)


def _independent(offsets: Sequence[float], total: float) -> float:
    """How many independent rounds a series is worth: under a power cap neighbours are alike (lag-1 correlation).

    Args:
        offsets: of the logarithms from their mean.
        total: sum of their squares.
    """
    n = len(offsets)
    if n < _SERIES or total <= 0.0:
        return float(n)
    lagged = math.fsum(map(mul, offsets, offsets[1:])) / total
    if lagged < _BY_CHANCE / math.sqrt(n):
        return float(n)
    correlation = min(lagged, 0.9)
    return max(n * (1.0 - correlation) / (1.0 + correlation), 2.0)
