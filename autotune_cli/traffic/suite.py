"""A weighted suite of at most so many workloads that stand for all steps of a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autotune_cli.errors import BadField, EmptySuite
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.models import Suite
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import StandsFor
from autotune_cli.traffic.clusters import ward
from autotune_cli.traffic.shapes import ServedShape, shape_of
from autotune_cli.traffic.steps import Cell, Steps, Tally, cell_of

DEFAULT_WORKLOADS = 12
"""docs/traffic.md says what more would add."""
# H100 SXM (its data sheet). Estimates only share out time between workloads, so it is their ratio that counts.
_BYTES_PER_S, _FLOPS_PER_S, _LAUNCH_S = 3.35e12, 989e12, 4e-6
# Octaves (7 %): steps that are as alike as this need no workload each, however many there may be.
_CLOSE = 0.1
# More cells than these are made coarser before they are clustered: their number squared is what that takes.
_MOST_CELLS = 512

MakeSuite = Callable[[ServedShape], Suite]
"""The workloads of a batch shape, one for each kind of the model's layers.

Raises:
    EmptySuite: the model has nothing for it.
"""
LayersOf = Callable[[Sequence[AnyWorkload]], Sequence[int]]
"""Of the workloads of a shape, the number of layers that run each."""


@dataclass(frozen=True)
class WeightedSuite:
    """The suite, and what its workloads stand for."""

    suite: Suite
    stands_for: dict[str, StandsFor]
    """By key of the workload."""
    left_out: int
    """Steps of kinds for which the model, or what was asked for, has no workload."""
    spread: float
    """Standard deviation of a step's sizes from those that stand for it, in octaves (factors of two), by time."""


@dataclass(frozen=True)
class _Group:
    """Steps that have one shape."""

    cells: list[tuple[Cell, Tally]]
    workloads: tuple[AnyWorkload, ...]
    layers: tuple[int, ...]
    seconds: tuple[float, ...]
    """Estimated, of one layer in one step, for each workload."""

    @property
    def steps(self) -> int:
        return sum(tally.steps for _, tally in self.cells)

    @property
    def time(self) -> float:
        return self.steps * sum(count * each for count, each in zip(self.layers, self.seconds, strict=True))


def weighted_suite(steps: Steps, most: int, make: MakeSuite, layers_of: LayersOf) -> WeightedSuite:
    """At most ``most`` workloads: the steps are clustered by kind, mode and sizes, into as many clusters as that allows
    or into fewer that are as good.

    Raises:
        BadField: ``traffic_workloads`` allows fewer than one of each kind.
        EmptySuite: the model has no workload for any step.
    """
    named: list[Suite] = []
    refused: list[EmptySuite] = []
    shapes: dict[ServedShape, tuple[tuple[AnyWorkload, ...], tuple[int, ...], tuple[float, ...]]] = {}

    def group_of(cells: list[tuple[Cell, Tally]]) -> _Group | None:
        shape = shape_of(cells, steps.captured)
        if shape not in shapes:
            try:
                suite = make(shape)
            except EmptySuite as error:
                refused.append(error)
                shapes[shape] = ((), (), ())
            else:
                named.append(suite)
                seconds = tuple(_seconds(workload) for workload in suite.workloads)
                shapes[shape] = (suite.workloads, tuple(layers_of(suite.workloads)), seconds)
        found = shapes[shape]
        return _Group(cells, *found) if found[0] else None

    single = _cells(steps)
    groups = [group_of([entry]) for entry in single]
    points = [group for group in groups if group is not None]
    left_out = sum(tally.steps for (_, tally), group in zip(single, groups, strict=True) if group is None)
    if not points:
        raise refused[0]
    place = np.array([_place(group.cells[0][1]) for group in points])
    times = np.array([group.time for group in points])
    kinds = [(group.cells[0][0].kind, group.cells[0][0].graph) for group in points]
    chosen: tuple[list[_Group], float] | None = None
    merged: list[_Group] = []
    fewest = len(set(kinds))
    for clusters in ward(place, times, kinds):
        if len(clusters) > max(most, fewest):
            continue
        spread = _spread(place, times, clusters)
        if chosen is not None and spread > _CLOSE:
            break
        found = [group_of([entry for index in cluster for entry in points[index].cells]) for cluster in clusters]
        merged = [group for group in found if group is not None]
        if _count(merged) <= most:
            chosen = merged, spread
    if chosen is None:
        least = _count(merged)
        raise BadField("traffic_workloads", f"is {most}; this traffic needs {least} at least, one of each kind of step")
    return WeightedSuite(
        suite=_suite(chosen[0], named),
        stands_for=_stands_for(chosen[0], steps.passes),
        left_out=left_out,
        spread=chosen[1],
    )


def _count(groups: Sequence[_Group]) -> int:
    """Different workloads."""
    return len({workload.key for group in groups for workload in group.workloads})


def _cells(steps: Steps) -> list[tuple[Cell, Tally]]:
    """The cells in a fixed order; of too many, neighbours together."""
    found = dict(sorted(steps.cells.items()))
    width = 1
    while len(found) > _MOST_CELLS:
        width *= 2
        coarse: dict[Cell, Tally] = {}
        for cell, tally in sorted(steps.cells.items()):
            batch = cell.batch if cell.graph and width < 4 else cell_of(cell.batch) // width
            key = cell._replace(batch=batch, context=cell.context // width, new=cell.new // width)
            coarse.setdefault(key, Tally()).add(tally)
        found = coarse
    if width == 1:
        return list(found.items())
    # A captured size is one again: the mean of what was put together.
    return [(_with_size(cell, tally, steps.captured), tally) for cell, tally in found.items()]


def _with_size(cell: Cell, tally: Tally, captured: Sequence[int]) -> Cell:
    if not cell.graph:
        return cell
    mean = tally.requests / tally.steps
    return cell._replace(batch=next((size for size in captured if size >= mean), captured[-1]))


def _place(tally: Tally) -> tuple[float, float, float]:
    """Requests, keys of each and new tokens of each, in octaves."""
    return (
        math.log2(tally.requests / tally.steps),
        math.log2(max(1.0, tally.keys / tally.requests)),
        math.log2(max(1.0, tally.new / tally.requests)),
    )


def _seconds(workload: AnyWorkload) -> float:
    """Of the workload's bytes and operations, about."""
    least = cost(workload)
    return _LAUNCH_S + max(least.bytes / _BYTES_PER_S, least.flops / _FLOPS_PER_S)


def _spread(place: np.ndarray, times: np.ndarray, clusters: Iterable[Sequence[int]]) -> float:
    squares = 0.0
    for cluster in clusters:
        index = list(cluster)
        center = np.average(place[index], axis=0, weights=times[index])
        squares += float((times[index] * ((place[index] - center) ** 2).sum(axis=1)).sum())
    return math.sqrt(squares / float(times.sum()))


def _suite(groups: Sequence[_Group], named: Sequence[Suite]) -> Suite:
    """Those that take most of the time first, operation by operation."""
    order = {workload.operation: None for group in groups for workload in group.workloads}
    rows = [
        (list(order).index(workload.operation), -group.steps * count * each, number, workload)
        for number, group in enumerate(groups)
        for workload, count, each in zip(group.workloads, group.layers, group.seconds, strict=True)
    ]
    workloads = {workload.key: workload for *_, workload in sorted(rows, key=lambda row: row[:3])}
    notes = dict.fromkeys(note for suite in named for note in suite.notes)
    return named[0].model_copy(update={"workloads": tuple(workloads.values()), "notes": tuple(notes)})


def _stands_for(groups: Sequence[_Group], passes: int) -> dict[str, StandsFor]:
    whole = math.fsum(group.time for group in groups)
    rows: dict[str, list[tuple[_Group, int, float]]] = {}
    for group in groups:
        for workload, count, each in zip(group.workloads, group.layers, group.seconds, strict=True):
            rows.setdefault(workload.key, []).append((group, count, group.steps * count * each))
    found = {}
    for key, parts in rows.items():
        tally = Tally()
        for group, _, _ in parts:
            for _, one in group.cells:
                tally.add(one)
        found[key] = StandsFor(
            steps=tally.steps,
            layers=parts[0][1],
            step_share=min(1.0, tally.steps / passes),
            time_share=min(1.0, math.fsum(time for *_, time in parts) / whole),
            batch=tally.batch_ends,
            context=tally.context_ends,
            new=tally.new_ends,
        )
    return found
