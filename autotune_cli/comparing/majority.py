"""What most sessions of a side say."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def majority(values: Sequence[Value]) -> Value:
    """The most frequent value; in a draw, the one that came last.

    Args:
        values: one a session, oldest first; not empty.
    """
    counts: dict[Value, int] = {}
    for value in reversed(values):
        counts[value] = counts.get(value, 0) + 1
    return max(counts, key=lambda value: counts[value])
