"""What options take besides texts: numbers in a range, lists of counts, durations, shares, words. One limit each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from autotune_cli.errors import BadField

_WHOLE = r"\s*[+-]?[0-9]+\s*"
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
# int() refuses texts of more than 4300 digits; no limit below needs more than these.
_DIGITS = 100
# What Python and torch take as a seed.
_LARGEST_SEED: Final = 2**63 - 1
_DAY_S: Final = 24 * 3600.0


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int
    most: int

    def value(self, field: str, text: str) -> int:
        if not re.fullmatch(_WHOLE, text):
            raise BadField(field, f"{text[:40]!r} is no whole number")
        short = text.strip()[:40]
        negative = short.startswith("-")
        number = int(text) if len(text) <= _DIGITS else self.least - 1 if negative else self.most + 1
        if number < self.least:
            raise BadField(field, f"{short} is below {self.least}")
        if number > self.most:
            raise BadField(field, f"{short} is above {self.most}")
        return number

    def text(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True)
class Real:
    """A number from ``least`` to ``most``; never NaN."""

    least: float
    most: float

    def value(self, field: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise BadField(field, f"{text[:40]!r} is no number") from None
        if math.isnan(number):
            raise BadField(field, f"{text[:40]!r} is no number")
        if number < self.least:
            raise BadField(field, f"{number} is below {self.least}")
        if number > self.most:
            raise BadField(field, f"{number} is above {self.most}")
        return number

    def text(self, value: float) -> str:
        return str(value)


@dataclass(frozen=True)
class Counts:
    """Whole numbers from 1 up to the engine's limit, with commas between; repeats are dropped."""

    def value(self, field: str, text: str) -> tuple[int, ...]:
        from autotune_cli.kernels.models.options import parse_numbers

        return parse_numbers(field, text) or ()

    def text(self, value: tuple[int, ...]) -> str:
        return ",".join(map(str, value))


@dataclass(frozen=True)
class Count:
    """One whole number from 1 up to the engine's limit."""

    def value(self, field: str, text: str) -> int:
        if not re.fullmatch(_WHOLE, text):
            raise BadField(field, f"{text[:40]!r} is no whole number")
        return Counts().value(field, text)[0]

    def text(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True)
class Duration:
    """Seconds of ``60``, ``60s``, ``5m`` or ``1h``; more than zero."""

    def value(self, field: str, text: str) -> float:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
        if match is None or match[2] not in _UNITS:
            raise BadField(field, f"{text[:40]!r} is no time; write 60s, 5m or 1h")
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds <= 0:
            raise BadField(field, "must be more than zero")
        if not math.isfinite(seconds):
            raise BadField(field, "is too long")
        return seconds

    def text(self, value: float) -> str:
        return f"{value:g}s"


@dataclass(frozen=True)
class Share:
    """A share of ``1%``, ``1 %`` or ``0.01``: from 0 to below 1 (100 %)."""

    def value(self, field: str, text: str) -> float:
        number = text.strip()
        percent = number.endswith("%")
        try:
            value = float(number.removesuffix("%")) / (100.0 if percent else 1.0)
        except ValueError:
            value = float("nan")
        if not 0.0 <= value < 1.0:
            raise BadField(field, f"{text[:40]!r} is no share; write 1% or 0.01")
        return value

    def text(self, value: float) -> str:
        return f"{100.0 * value:g}%"


@dataclass(frozen=True)
class Words:
    """What a function of the engine's makes of a text, such as a set of words."""

    parse: Callable[[str], frozenset[Any]]

    def value(self, field: str, text: str) -> frozenset[Any]:
        return self.parse(text)

    def text(self, value: frozenset[Any]) -> str:
        return ",".join(sorted(value))


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def value(self, field: str, text: str) -> str:
        if text not in self.words:
            raise BadField(field, f"{text[:40]!r} is none of {', '.join(self.words)}")
        return text

    def text(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class FormatOf:
    """A format that results of this kind have."""

    kind: str

    def value(self, field: str, text: str) -> str:
        from autotune_cli.render.formats import find_format

        return find_format(self.kind, text).name

    def text(self, value: str) -> str:
        return value


RANK: Final = Whole(0, 1_000_000)
"""More than any cluster has."""
SEED: Final = Whole(0, _LARGEST_SEED)
ROUNDS: Final = Whole(3, 1000)
"""Fewer give no interval; more are far beyond any use, a slip."""
MILLISECONDS: Final = Real(1e-3, 1e7)
TIMEOUT: Final = Real(0.1, _DAY_S)
