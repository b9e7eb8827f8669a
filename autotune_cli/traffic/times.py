"""Times of arrival as logs write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

# A number of seconds since 1970 has ten digits before the point for 250 years; more are milliseconds, micro-, nano-.
_MOST_SECONDS = 1e11
_UNITS = 3


def seconds(value: object) -> float | None:
    """Seconds of a number or a text, from any time on; None: it is no time.

    A date without a zone is taken as UTC: only differences count. A number is seconds, of a log or since 1970; one that
    would be after the year 5138 is milliseconds, microseconds or nanoseconds.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _of_number(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        # No number has a colon, and dates are what most logs have.
        if ":" not in text:
            return _of_number(float(text))
        when = datetime.fromisoformat(text)
    except ValueError:
        return _of_day(text)
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


def _of_day(text: str) -> float | None:
    """A date without a time of day is one, too."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _of_number(number: float) -> float | None:
    try:
        value = float(number)
    except OverflowError:
        return None
    if not math.isfinite(value):
        return None
    for _ in range(_UNITS):
        if abs(value) < _MOST_SECONDS:
            return value
        value /= 1e3
    return value if abs(value) < _MOST_SECONDS else None
