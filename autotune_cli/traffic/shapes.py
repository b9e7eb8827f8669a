"""The batch shape that stands for many steps: as long in all as they are on the average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from autotune_cli.kernels.base import spread_lengths
from autotune_cli.kernels.models.options import MOST
from autotune_cli.traffic.steps import Cell, Kind, Tally

# Sizes of a shape have so many values between a power of two and the next: logs of two days that differ by little have
# the same workloads, which are then measured once. Rounding changes a size by 3 % at most, and by 1.6 % on the average.
_VALUES = 16


class ServedShape(NamedTuple):
    """A batch of a server; lengths in it are spread as those of a suite's workload (``uneven``)."""

    kind: Kind
    graph: bool
    batch: int
    context: int
    """Keys of the longest request, new ones included."""
    new: int = 1
    """New tokens of the longest extend."""


def shape_of(cells: Sequence[tuple[Cell, Tally]], captured: Sequence[int]) -> ServedShape:
    """The shape of steps of one kind and mode.

    Its batch is the mean one, in a graph the captured size that is nearest; its lengths are such that they sum up to
    the keys, and to the new tokens, of the mean step.
    """
    kind, graph = cells[0][0].kind, cells[0][0].graph
    whole = Tally()
    slots = 0
    for cell, tally in cells:
        whole.add(tally)
        slots += tally.steps * (cell.batch if graph else 0)
    batch = nearest(slots / whole.steps, captured) if graph else rounded(whole.requests / whole.steps)
    keys, tokens = whole.keys / whole.steps, whole.new / whole.steps
    if kind == "decode":
        return ServedShape(kind, graph, batch, rounded(longest_for(keys, batch)))
    new = rounded(longest_for(tokens, batch))
    if kind == "prefill":
        return ServedShape(kind, graph, batch, new, new)
    return ServedShape(kind, graph, batch, min(MOST, new + rounded(longest_for(keys - tokens, batch))), new)


def longest_for(total: float, count: int) -> int:
    """The longest of ``count`` requests whose lengths, spread as a workload's are, sum up to about ``total``."""
    low, high = 1, min(MOST, max(1, round(2 * total / count) + 64))
    while low < high:
        middle = (low + high) // 2
        if sum(spread_lengths(middle, count, "uneven")) < total:
            low = middle + 1
        else:
            high = middle
    return low


def rounded(number: float) -> int:
    """A size that stands for those near it; small ones are whole numbers, from 1 on."""
    whole = max(1, round(number))
    unit = 1 << max(0, whole.bit_length() - _VALUES.bit_length())
    return max(1, round(number / unit)) * unit


def nearest(number: float, sizes: Iterable[int]) -> int:
    """The size that is nearest, the smaller one of two."""
    return min(sizes, key=lambda size: (abs(size - number), size))
