"""Batch shapes of a suite, and narrowing a family's grid to what a user asks for, which need not be in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autotune_cli.kernels.base import Spread


class Shape(NamedTuple):
    """``batch`` requests of up to ``context`` keys in all, ``new`` of them new; in a top-k, rows x width."""

    batch: int
    context: int
    new: int = 1
    spread: Spread = "uneven"
    eagle_topk: int | None = None
    """Most drafts of a level of the trees that are verified, 1: chains. None: nothing is verified."""


Grid = tuple[Shape, ...]


@dataclass(frozen=True)
class Wanted:
    """What the user gave; None: not given. ``contexts`` are keys in all, new ones included."""

    batches: tuple[int, ...] | None = None
    contexts: tuple[int, ...] | None = None
    new: tuple[int, ...] | None = None
    eagle_topk: tuple[int, ...] | None = None


def made(batch: int, context: int, like: Shape) -> Shape:
    """A shape that a grid doesn't have: as one of it, but for batch and context."""
    return like._replace(batch=batch, context=context)


def narrow(grid: Sequence[Shape], wanted: Wanted, make: Callable[[int, int, Shape], Shape] = made) -> Grid:
    """The grid's shapes that fit, in the order asked for; a value that the grid doesn't have replaces the grid's.

    A batch of the grid keeps its own contexts, another one gets all contexts of the grid, and the other way round.
    With both given, every pair of them is a shape. ``wanted.new`` is the family's to obey.

    Args:
        make: batch, context and a shape of the grid to one with these.
    """
    shapes: Iterable[Shape] = grid
    if wanted.batches is not None and wanted.contexts is not None:
        pairs = [(batch, context) for context in wanted.contexts for batch in wanted.batches]
        shapes = flat(_at(grid, batch, context, make) for batch, context in pairs)
    elif wanted.batches is not None:
        shapes = flat(_with_batch(grid, batch) for batch in wanted.batches)
    elif wanted.contexts is not None:
        shapes = flat(_with_context(grid, context, make) for context in wanted.contexts)
    return tuple(dict.fromkeys(shapes))


def flat(groups: Iterable[Iterable[Shape]]) -> Grid:
    """The shapes of all groups."""
    return tuple(shape for group in groups for shape in group)


def _with_batch(grid: Sequence[Shape], batch: int) -> list[Shape]:
    return [s for s in grid if s.batch == batch] or [s._replace(batch=batch) for s in grid]


def _with_context(grid: Sequence[Shape], context: int, make: Callable[[int, int, Shape], Shape]) -> list[Shape]:
    known = [shape for shape in grid if shape.context == context]
    return known or [make(shape.batch, context, shape) for shape in grid]


def _at(grid: Sequence[Shape], batch: int, context: int, make: Callable[[int, int, Shape], Shape]) -> list[Shape]:
    known = [shape for shape in grid if (shape.batch, shape.context) == (batch, context)]
    return known or [make(batch, context, grid[0])] if grid else []


def by_batch(found: Iterable[Shape]) -> list[list[Shape]]:
    """The shapes of each batch size, in the order in which the sizes come."""
    sizes: dict[int, list[Shape]] = {}
    for shape in found:
        sizes.setdefault(shape.batch, []).append(shape)
    return list(sizes.values())
