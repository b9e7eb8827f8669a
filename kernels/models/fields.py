"""Typed access to the fields of a Hugging Face config.json: a wrong one is a BadConfig line that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autotune_cli.errors import BadConfig

# Larger numbers are a mistake in the file (heads, head dim, layers, window, positions).
MOST = 100_000_000


class Fields:
    """The text model's fields of a config.json. ``where`` leads each message: a path or a catalogue file."""

    def __init__(self, where: str, values: Mapping[str, Any], prefix: str = "") -> None:
        self.where = where
        self.values = values
        self.prefix = prefix

    def bad(self, name: str, detail: str) -> BadConfig:
        return BadConfig(path=self.where, detail=f"{self.prefix}{name} {detail}")

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def count(self, *names: str) -> int | None:
        """A positive whole number under the first of ``names`` that is there; None: absent or null."""
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.bad(name, f"must be a whole number, not {_show(value)}")
            if not 1 <= value <= MOST:
                raise self.bad(name, f"is {_show(value)}, which no model has")
            return value
        return None

    def needed(self, *names: str) -> int:
        value = self.count(*names)
        if value is None:
            raise self.bad(names[0], "is missing: this doesn't look like a decoder's config.json")
        return value

    def number(self, name: str) -> float | None:
        """A finite positive number; None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        # A JSON integer may be larger than any float, which math.isfinite would choke on.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(name, f"must be a number, not {_show(value)}")
        if not 0 < value <= MOST or not math.isfinite(value):
            raise self.bad(name, f"is {_show(value)}, but must be positive")
        return float(value)

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.bad(name, f"must be true or false, not {_show(value)}")
        return value

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def names(self, name: str) -> list[str] | None:
        """A list of strings; None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise self.bad(name, "must be a list of names")
        return value


def _show(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
