"""Narrowing a grid to the batches and contexts that a user gave, which need not be in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autotune_cli.kernels.models.grids import Shape


@dataclass(frozen=True)
class Wanted:
    """What the user gave; None: not given. ``contexts`` are keys in all, new ones included."""

    batches: tuple[int, ...] | None = None
    contexts: tuple[int, ...] | None = None
    new: tuple[int, ...] | None = None


def narrow(operation: str, grid: tuple[Shape, ...], wanted: Wanted) -> tuple[Shape, ...]:
    """The grid's shapes that fit, in the order asked for; a value that the grid doesn't have replaces the grid's.

    A batch of the grid keeps its own contexts, another one gets all contexts of the grid, and the other way round.
    With both given, every pair of them is a shape. ``wanted.new`` replaces the new tokens of extends: the
    context stays if it was given, else the prefix does.
    """
    shapes = grid
    if wanted.batches is not None and wanted.contexts is not None:
        pairs = [(batch, context) for context in wanted.contexts for batch in wanted.batches]
        shapes = _flat(_at(operation, grid, batch, context) for batch, context in pairs)
    elif wanted.batches is not None:
        shapes = _flat(_with_batch(grid, batch) for batch in wanted.batches)
    elif wanted.contexts is not None:
        shapes = _flat(_with_context(operation, grid, context) for context in wanted.contexts)
    if operation == "attention.extend":
        if wanted.new is not None:
            keep = wanted.contexts is not None
            shapes = _flat([_renew(shape, new, keep) for new in wanted.new] for shape in shapes)
        shapes = tuple(shape for shape in shapes if shape.context > shape.new)
    return tuple(dict.fromkeys(shapes))


def _flat(groups: Iterable[Iterable[Shape]]) -> tuple[Shape, ...]:
    return tuple(shape for group in groups for shape in group)


def _with_batch(grid: tuple[Shape, ...], batch: int) -> list[Shape]:
    return [s for s in grid if s.batch == batch] or [s._replace(batch=batch) for s in grid]


def _with_context(operation: str, grid: tuple[Shape, ...], context: int) -> list[Shape]:
    known = [shape for shape in grid if shape.context == context]
    return known or [_made(operation, shape.batch, context, shape) for shape in grid]


def _at(operation: str, grid: tuple[Shape, ...], batch: int, context: int) -> list[Shape]:
    known = [shape for shape in grid if (shape.batch, shape.context) == (batch, context)]
    return known or [_made(operation, batch, context, grid[0])] if grid else []


def _made(operation: str, batch: int, context: int, like: Shape) -> Shape:
    """A shape that the grid doesn't have."""
    if operation == "attention.prefill":
        return Shape(batch, context, context, like.spread)
    if operation == "attention.extend":
        return Shape(batch, context, min(512, max(1, context // 4)), like.spread)
    return Shape(batch, context, 1, like.spread)


def _renew(shape: Shape, new: int, keep_context: bool) -> Shape:
    if keep_context:
        return shape._replace(new=new)
    return shape._replace(new=new, context=shape.context - shape.new + new)
