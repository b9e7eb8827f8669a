"""From microseconds to tokens: what a gain comes to in a step of the whole model, layers times gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import family
from autotune_cli.planning.records import Row, StepChange

STEPS = ("decode", "prefill", "verify", "top-k")
"""Kinds of steps in the order in which they are told; an indexer's top-k is in steps of several kinds."""


def changes_of(
    rows: Sequence[Row], layers: Mapping[str, int], step_ms: float | None, chunk_ms: float | None
) -> tuple[StepChange, ...]:
    """Of each kind of step, the change of all its batch shapes by weight, then that of each shape.

    Layers of several kinds that run in one step of that shape add up. A shape is left out where the untuned server has
    no time for one of them.

    Args:
        layers: by workload key.
        step_ms: a decode step of the untuned server, in milliseconds.
        chunk_ms: a prefill chunk of it.
    """
    found: list[StepChange] = []
    for step in STEPS:
        whole = {"decode": step_ms, "prefill": chunk_ms}.get(step)
        shapes: dict[str, list[Row]] = {}
        for row in rows:
            operation = row.result.workload.operation
            if family(operation).step_of.get(operation) == step and row.result.key in layers:
                shapes.setdefault(_batch(row), []).append(row)
        known = {shape: group for shape, group in shapes.items() if all(row.untuned is not None for row in group)}
        singles = [(_weight(group, layers), _change(step, group, layers, whole)) for group in known.values()]
        total = math.fsum(weight for weight, _ in singles)
        if not singles or not total:
            continue
        half = math.sqrt(math.fsum((weight * change.half_ms) ** 2 for weight, change in singles)) / total
        mean = StepChange(
            step,
            "",
            max(change.layers for _, change in singles),
            math.fsum(weight * change.attention_ms for weight, change in singles) / total,
            math.fsum(weight * change.change_ms for weight, change in singles) / total,
            half,
            whole,
        )
        found += [mean, *(change for _, change in singles)]
    return tuple(found)


def _batch(row: Row) -> str:
    """What the workloads of a model's kinds of layers have in common in one step."""
    workload = row.result.workload
    if isinstance(workload, AttentionWorkload):
        return repr(workload.model_copy(update={"geometry": None}))
    return workload.key


def _weight(group: Sequence[Row], layers: Mapping[str, int]) -> float:
    """Of a shape: calls of one layer."""
    return max(row.weight / layers[row.result.key] for row in group)


def _change(step: str, group: Sequence[Row], layers: Mapping[str, int], whole: float | None) -> StepChange:
    attention = change = variance = 0.0
    for row in group:
        count = layers[row.result.key]
        assert row.untuned is not None
        attention += count * row.runs.time.us
        if row.untuned.key != row.runs.key:
            change += count * (row.runs.time.us - row.untuned.time.us)
            variance += (count * row.runs.time.half) ** 2 + (count * row.untuned.time.half) ** 2
    workload = group[0].result.workload
    named = f"{workload.operation.partition('.')[2]} {workload.shape}"
    total = sum(layers[row.result.key] for row in group)
    return StepChange(step, named, total, attention / 1e3, change / 1e3, math.sqrt(variance) / 1e3, whole)
