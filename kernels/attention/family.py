"""The attention family: workloads of a model's attention layers, their names and what they cost. Imports no torch."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

from autotune_cli.fields import Message
from autotune_cli.kernels.attention import cost as costs
from autotune_cli.kernels.attention import steps
from autotune_cli.kernels.attention.grids import grid_for
from autotune_cli.kernels.attention.workload import AttentionOperation, AttentionWorkload
from autotune_cli.kernels.base import Cost, Mode
from autotune_cli.kernels.family import Family, Problem, SuiteLayer, SuiteModel, SuiteRequest
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.lengths import LengthDistribution
from autotune_cli.kernels.shapes import Grid, Shape, Wanted, by_batch, flat, narrow
from autotune_cli.kernels.steps import StepLayer, StepRequest

# New tokens of an extend that the grid doesn't have: a quarter of its keys, at most a usual chunk.
_MOST_NEW = 512


class AttentionFamily(Family[AttentionWorkload]):
    name = "attention"
    default_model = "llama-3.1-8b"
    short_names = ("decode", "prefill", "extend", "verify", "cross")
    on_request = ("attention.verify", "attention.cross")
    step_modes = steps.MODES
    step_of = MappingProxyType(
        {
            "attention.decode": "decode",
            "attention.prefill": "prefill",
            "attention.extend": "prefill",
            "attention.verify": "verify",
        }
    )
    served = MappingProxyType({kind: f"attention.{kind}" for kind in ("decode", "prefill", "extend")})
    properties = ("deterministic", "batch-invariant")

    def default_mode(self, operation: str) -> Mode:
        """Decode and verification run from a CUDA graph in servers; prefill and extend don't."""
        return "graph" if operation in ("attention.decode", "attention.verify") else "eager"

    def cost(self, workload: AttentionWorkload) -> Cost:
        return costs.cost(workload)

    def memory_bytes(self, workload: AttentionWorkload, page_layouts: int | None = None) -> int:
        return costs.memory_bytes(workload, page_layouts)

    def workloads(
        self, model: SuiteModel, operation: str, mode: Mode, request: SuiteRequest
    ) -> list[AttentionWorkload]:
        """The layers' grid, one kind of layers after the other."""
        attention = cast("AttentionOperation", operation)
        if request.lengths is not None and attention == "attention.decode":
            return [
                _over_lengths(model, geometry, batch, mode, request, request.lengths)
                for layer, geometry in zip(model.layers, request.geometries, strict=True)
                for batch in by_batch(shapes(model, layer, attention, request))
            ]
        return [
            _workload(model, attention, geometry, shape, mode, request)
            for layer, geometry in zip(model.layers, request.geometries, strict=True)
            if attention != "attention.cross" or geometry.window_left is None
            for shape in shapes(model, layer, attention, request)
        ]

    def why_none(self, model: SuiteModel, operation: str) -> str:
        if model.latent is not None:
            return "its attention is multi-head latent (MLA), whose operations are attention.mla_decode and mla_extend"
        if not model.layers:
            return "its attention isn't tuned yet, only its top-k"
        if operation == "attention.extend":
            return Message("no shape fits; an extend needs {fields.context} above {fields.new}")
        if operation == "attention.cross":
            return "every layer has a window: none stands for cross-attention"
        if operation == "attention.verify":
            return Message("no shape fits; to verify needs {fields.context} above the drafts ({fields.new})")
        return Message("no shape of the grid fits the model's longest context; give {fields.context}")

    def step_layers(self, model: SuiteModel, request: StepRequest) -> list[StepLayer]:
        return steps.layers(request, model.max_context)

    def why_no_step(self, model: SuiteModel) -> str:
        if model.latent is not None:
            return "its attention is multi-head latent (MLA), which runs in the modes decode, extend and sparse_decode"
        if model.layers:
            # Every other mode runs all of them.
            return self.why_none(model, "attention.cross")
        return "; ".join(model.notes) or "no attention layer that is known here"

    def step_problem(self, layer: StepLayer, device: str, seed: int) -> Problem:
        """Of the step's own lengths and trees."""
        made: Problem = cast("Any", self.problems).step_problem(layer, device, seed)
        return made


FAMILY = AttentionFamily()


def shapes(model: SuiteModel, layer: SuiteLayer, operation: AttentionOperation, request: SuiteRequest) -> list[Shape]:
    """The batch shapes of a kind of layer that the user wants."""
    wanted = request.wanted
    beside_full = layer.window is not None and model.has_full_layers
    kept = []
    for shape in narrowed(operation, grid_for(operation, request.device_kind, beside_full), wanted):
        # A model is not asked for more than it was made for, unless the user asks.
        if wanted.contexts is None and model.max_context is not None and shape.context > model.max_context:
            continue
        # A context within the window is the same computation as in the full layers.
        if beside_full and layer.window is not None and shape.context <= layer.window:
            continue
        kept.append(shape)
    return kept


def narrowed(operation: AttentionOperation, grid: Grid, wanted: Wanted) -> Grid:
    """As :func:`~autotune_cli.kernels.shapes.narrow`; ``wanted.new`` replaces the new tokens of extends, and the drafts
    that are verified, ``wanted.eagle_topk`` the most drafts of a level.

    The context on a prefix stays if it was given, else the prefix does.
    """
    if operation == "attention.decode":
        return narrow(grid, wanted)
    if operation == "attention.prefill":
        return narrow(grid, wanted, lambda batch, context, like: Shape(batch, context, context, like.spread))
    if operation == "attention.cross":
        found = narrow(grid, wanted, lambda batch, context, like: Shape(batch, context, like.new, like.spread))
        return flat([shape._replace(new=new) for new in wanted.new or (shape.new,)] for shape in found)
    found = narrow(grid, wanted, _extend) if operation == "attention.extend" else _trees(grid, wanted)
    if wanted.new is not None:
        keep = wanted.contexts is not None
        found = flat([_renewed(shape, new, keep) for new in wanted.new] for shape in found)
    return tuple(dict.fromkeys(shape for shape in found if shape.context > shape.new))


def _trees(grid: Grid, wanted: Wanted) -> Grid:
    """Narrowed for each number of branches apart: a batch that the grid lacks has trees and chains."""
    known = tuple(dict.fromkeys(shape.eagle_topk for shape in grid))
    parts = {topk: narrow([shape for shape in grid if shape.eagle_topk == topk], wanted) for topk in known}
    if wanted.eagle_topk is None:
        return flat(parts.values())
    # The first of the grid are trees.
    return flat(
        parts.get(topk, tuple(shape._replace(eagle_topk=topk) for shape in parts[known[0]]))
        for topk in wanted.eagle_topk
    )


def _extend(batch: int, context: int, like: Shape) -> Shape:
    return Shape(batch, context, min(_MOST_NEW, max(1, context // 4)), like.spread)


def _renewed(shape: Shape, new: int, keep_context: bool) -> Shape:
    if keep_context:
        return shape._replace(new=new)
    return shape._replace(new=new, context=shape.context - shape.new + new)


def _over_lengths(
    model: SuiteModel,
    geometry: Geometry,
    found: list[Shape],
    mode: Mode,
    request: SuiteRequest,
    lengths: LengthDistribution,
) -> AttentionWorkload:
    """One batch size, over all lengths. A server captures it for the longest context that it serves."""
    contexts = [shape.context for shape in found]
    points = lengths.points(contexts)
    served = max(model.max_context or 0, lengths.longest(contexts))
    return AttentionWorkload(
        operation="attention.decode",
        geometry=geometry,
        batch=found[0].batch,
        context=points[-1].context,
        mode=mode,
        spread=request.spread or found[0].spread,
        served_context=served if mode == "graph" else None,
        points=points,
    )


def _workload(
    model: SuiteModel,
    operation: AttentionOperation,
    geometry: Geometry,
    shape: Shape,
    mode: Mode,
    request: SuiteRequest,
) -> AttentionWorkload:
    # Only a captured step depends on it.
    captured = model.max_context is not None and mode == "graph"
    return AttentionWorkload(
        operation=operation,
        geometry=geometry,
        batch=shape.batch,
        new=shape.new,
        context=shape.context,
        mode=mode,
        spread=request.spread or shape.spread,
        served_context=max(model.max_context or 0, shape.context) if captured else None,
        eagle_topk=shape.eagle_topk,
    )
