"""Distributions of lengths, over which one choice is made for a batch size: a server captures once, and replays at all
of them. Imports no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autotune_cli.kernels.base import LengthPoint

MOST_POINTS = 5
"""Lengths at which a distribution is measured: the middles of fifths of it."""


@dataclass(frozen=True)
class LengthDistribution:
    """How long requests are, in keys."""

    kind: Literal["suite", "uniform", "file"]
    """``suite``: the contexts that the suite has for the batch size. ``uniform``: from one key to the longest of those.
    ``file``: ``lengths``.
    """
    lengths: tuple[int, ...] = ()
    """Of requests that were served, as the user gave them."""

    def points(self, contexts: Sequence[int]) -> tuple[LengthPoint, ...]:
        """The lengths to measure at, the shortest first.

        Args:
            contexts: those that the suite has for the batch size, at least one; a file needs none.
        """
        if self.kind == "suite":
            return tuple(LengthPoint(context=context) for context in sorted(set(contexts)))
        if self.kind == "uniform":
            longest = max(contexts)
            return _merged([math.ceil(longest * middle) for middle in _middles()])
        return quantile_points(self.lengths)

    def longest(self, contexts: Sequence[int]) -> int:
        """Keys of the longest request."""
        return max(self.lengths or contexts)


def quantile_points(lengths: Sequence[int]) -> tuple[LengthPoint, ...]:
    """Lengths by how often they occur; of more than ``MOST_POINTS`` different ones the middles of as many equal parts
    of them, in their order.
    """
    if len(set(lengths)) <= MOST_POINTS:
        return _merged(lengths)
    ordered = sorted(lengths)
    return _merged([ordered[int(len(ordered) * middle)] for middle in _middles()])


def _middles() -> list[float]:
    """0.1, 0.3 ... 0.9."""
    return [(2 * part + 1) / (2 * MOST_POINTS) for part in range(MOST_POINTS)]


def _merged(lengths: Sequence[int]) -> tuple[LengthPoint, ...]:
    """Equal ones are one point of more weight."""
    counts = Counter(lengths)
    unit = math.gcd(*counts.values())
    return tuple(LengthPoint(context=length, weight=counts[length] // unit) for length in sorted(counts))
