"""Forward passes of a server, counted in cells of alike ones: a histogram of bounded size, whatever their number."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from autotune_cli.kernels.models.options import MOST

Kind = Literal["decode", "prefill", "extend"]
KINDS: tuple[Kind, ...] = ("decode", "prefill", "extend")

_PER_OCTAVE = 8
# The least whole number of each cell of a size: neighbours differ by 9 %, small ones by 1.
_EDGES = sorted({math.ceil(2 ** (step / _PER_OCTAVE)) for step in range(_PER_OCTAVE * MOST.bit_length() + 1)})


class Cell(NamedTuple):
    """Steps that are alike."""

    kind: Kind
    graph: bool
    """Replayed from a CUDA graph."""
    batch: int
    """In a graph the captured size, padding included; else the cell of the number of requests."""
    context: int
    """Cell of the mean number of keys of a request."""
    new: int
    """Cell of the mean number of new tokens of a request."""


@dataclass
class Tally:
    """Sums over the steps of a cell, and the ends of what they hold."""

    steps: int = 0
    requests: int = 0
    keys: int = 0
    """Of all requests in all steps, new ones included."""
    new: int = 0
    """New tokens, likewise."""
    batch_ends: tuple[int, int] = (MOST, 1)
    context_ends: tuple[int, int] = (MOST, 1)
    new_ends: tuple[int, int] = (MOST, 1)

    def add(self, other: Tally) -> None:
        """Count another one's steps too."""
        self.steps += other.steps
        self.requests += other.requests
        self.keys += other.keys
        self.new += other.new
        self.batch_ends = _wider(self.batch_ends, other.batch_ends)
        self.context_ends = _wider(self.context_ends, other.context_ends)
        self.new_ends = _wider(self.new_ends, other.new_ends)


@dataclass
class Steps:
    """All steps of a server."""

    captured: Sequence[int] = ()
    """Batch sizes of its CUDA graphs, ascending; none: every step is eager."""
    cells: dict[Cell, Tally] = field(default_factory=dict)
    passes: int = 0
    """Forward passes. One that prefills and decodes is in two cells."""

    def prefill(self, new: Sequence[int], prefixes: Sequence[int]) -> None:
        """A step's new tokens of each request, and the keys that lie in the cache before them."""
        batch, tokens, cached = len(new), sum(new), sum(prefixes)
        self.count("extend" if cached else "prefill", batch, tokens, tokens + cached)

    def count(self, kind: Kind, batch: int, new: int, keys: int, steps: int = 1) -> None:
        """Steps by their sums over all requests; those of a decode are eager."""
        context, each = _mean(keys, batch), _mean(new, batch)
        ends = (batch, batch), (context, context), (each, each)
        tally = Tally(steps, steps * batch, steps * keys, steps * new, *ends)
        self._add(Cell(kind, False, cell_of(batch), cell_of(context), cell_of(each)), tally)

    def decode(self, batch: int, keys: int, steps: int = 1, graph: bool = True) -> None:
        """Decode steps of the same requests, one after the other: each has ``batch`` keys more than the one before.

        Args:
            keys: of all requests in the first of them, the new ones included.
            graph: replayed, if a size that is large enough was captured.
        """
        size = captured_size(batch, self.captured) if graph else None
        while steps > 0:
            context = _mean(keys, batch)
            number = cell_of(context)
            # Each step adds one key to the mean.
            until = _EDGES[number + 1] - context if number + 1 < len(_EDGES) else steps
            run = max(1, min(steps, until))
            total = run * keys + batch * run * (run - 1) // 2
            last = _mean(keys + batch * (run - 1), batch)
            tally = Tally(run, run * batch, total, run * batch, (batch, batch), (context, last), (1, 1))
            slot = cell_of(batch) if size is None else size
            self._add(Cell("decode", size is not None, slot, number, 0), tally)
            keys += batch * run
            steps -= run

    def _add(self, cell: Cell, tally: Tally) -> None:
        known = self.cells.get(cell)
        if known is None:
            self.cells[cell] = tally
        else:
            known.add(tally)

    def merge(self, other: Steps) -> None:
        """Count another server's steps too."""
        for cell, tally in other.cells.items():
            self._add(cell, Tally(**vars(tally)))
        self.passes += other.passes

    def total(self, *kinds: Kind) -> Tally:
        """Of all cells of these kinds; of none given, of all."""
        found = Tally()
        for cell, tally in self.cells.items():
            if not kinds or cell.kind in kinds:
                found.add(tally)
        return found

    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 of all that was counted."""
        rows = [repr((tuple(cell), *vars(tally).values())) for cell, tally in sorted(self.cells.items())]
        return hashlib.sha256("\n".join([*rows, str(self.passes)]).encode()).hexdigest()[:16]


def captured_size(batch: int, sizes: Sequence[int]) -> int | None:
    """The smallest captured size that holds a batch; None: it runs eagerly."""
    index = bisect_left(sizes, batch)
    return sizes[index] if index < len(sizes) else None


def cell_of(number: int) -> int:
    """Which of the cells a size is in."""
    return bisect_right(_EDGES, number) - 1


def _mean(total: int, count: int) -> int:
    return max(1, min(MOST, total // count))


def _wider(ends: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(ends[0], other[0]), max(ends[1], other[1])
