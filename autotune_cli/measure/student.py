"""Student's t distribution: two-sided p-values and quantiles. No scipy, which takes half a second to import."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_STEPS = 300


def two_sided_p(t: float, degrees: float) -> float:
    """P(|T| >= |t|) for ``degrees`` > 0 (fractions are fine); relative accuracy about 1e-10 down to 1e-300.

    Raises:
        ValueError: degrees that are not above zero, or a t that is not a number.
    """
    if not degrees > 0.0 or math.isnan(t):
        raise ValueError(f"t {t}, degrees {degrees}")
    if t == 0.0:
        return 1.0
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))


def quantile(probability: float, degrees: float) -> float:
    """The t with P(|T| <= t) = ``probability``: the half-width of an interval in standard errors.

    Raises:
        ValueError: a probability outside (0, 1), or degrees that are not above zero.
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability {probability}")
    # Tenths of a degree change the quantile by less than a rounding of what is printed, and make it cheap.
    return _quantile(probability, max(round(degrees, 1), 0.1))


@lru_cache(maxsize=4096)
def _quantile(probability: float, degrees: float) -> float:
    beyond = 1.0 - probability
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > beyond:
        low, high = high, 2.0 * high
    for _ in range(100):
        middle = 0.5 * (low + high)
        if high - low <= 1e-10 * high:
            break
        if two_sided_p(middle, degrees) > beyond:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta I_x(a, b) by its continued fraction (Lentz; DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _STEPS):
        even = a + 2 * m
        for numerator in (
            m * (b - m) * x / ((even - 1) * even),
            -(a + m) * (a + b + m) * x / (even * (even + 1)),
        ):
            # _away, written out: this is most of what a comparison of large files computes.
            d = 1.0 + numerator * d
            d = 1.0 / (d if d > _TINY or d < -_TINY else _TINY)
            c = 1.0 + numerator / c
            c = c if c > _TINY or c < -_TINY else _TINY
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return value


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
