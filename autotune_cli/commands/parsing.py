"""Options as typed to values, with one clear line for each mistake."""

from __future__ import annotations

import math
import re
from typing import TypeVar

from autotune_cli.errors import BadField, UnknownName

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
Number = TypeVar("Number", int, float)


def duration(field: str, text: str | None) -> float | None:
    """Seconds of ``60``, ``60s``, ``5m`` or ``1h``.

    Raises:
        BadField: anything else, or nothing above zero.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in _UNITS:
        raise BadField(field=field, detail=f"{text!r} is no time; write 60s, 5m or 1h")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds <= 0:
        raise BadField(field=field, detail="must be more than zero")
    if not math.isfinite(seconds):
        raise BadField(field=field, detail="is too long")
    return seconds


def numbers(field: str, text: str | None) -> tuple[int, ...]:
    """Positive whole numbers with commas between; empty for None.

    Raises:
        BadField: anything else.
    """
    if text is None:
        return ()
    result = []
    for part in text.split(","):
        # int() refuses text of more than 4300 digits.
        if not part.strip().isdecimal() or len(part) > 18 or int(part) < 1:
            raise BadField(field=field, detail=f"{part.strip()[:40]!r} is no whole number above zero")
        result.append(int(part))
    return tuple(dict.fromkeys(result))


def between(field: str, value: Number, least: Number, most: Number) -> Number:
    """The value itself.

    Raises:
        BadField: it is smaller, larger or not a number.
    """
    if not value >= least:
        raise BadField(field=field, detail=f"{value} is below {least}")
    if value > most:
        raise BadField(field=field, detail=f"{value} is above {most}")
    return value


def backends(text: str | None, has_own: bool = False) -> tuple[str, ...]:
    """Names of backends or libraries, with commas between.

    Names in a user's own kernel file are known to the worker only, so with one any name may be right.

    Raises:
        UnknownName: with the nearest known name.
    """
    if text is None:
        return ()
    from autotune_cli.kernels.registry import REGISTRY

    full = [backend.name for backend in REGISTRY.all()]
    known = [*dict.fromkeys(name.split(".")[0] for name in full), *full]
    result = []
    for part in text.split(","):
        name = part.strip()
        if name not in known and not has_own:
            raise UnknownName("backend", name, known)
        result.append(name)
    return tuple(result)
