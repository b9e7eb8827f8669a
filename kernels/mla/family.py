"""The family of multi-head latent attention (MLA): workloads of a model's layers and what they cost. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

from autotune_cli.fields import Message
from autotune_cli.kernels.attention.family import narrowed
from autotune_cli.kernels.attention.workload import AttentionOperation
from autotune_cli.kernels.base import Cost, Mode
from autotune_cli.kernels.family import Family, SuiteModel, SuiteRequest
from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.lengths import LengthDistribution
from autotune_cli.kernels.mla import cost as costs
from autotune_cli.kernels.mla import steps
from autotune_cli.kernels.mla.grids import GRIDS
from autotune_cli.kernels.mla.workload import MlaOperation, MlaWorkload
from autotune_cli.kernels.shapes import Shape, by_batch
from autotune_cli.kernels.steps import StepLayer, StepRequest

# Whose batches are narrowed alike.
_ALIKE: dict[MlaOperation, AttentionOperation] = {
    "attention.mla_decode": "attention.decode",
    "attention.mla_prefill": "attention.prefill",
    "attention.mla_extend": "attention.extend",
    "attention.mla_sparse_decode": "attention.decode",
}


class MlaFamily(Family[MlaWorkload]):
    name = "mla"
    default_model = "deepseek-v3"
    short_names = ("mla_decode", "mla_prefill", "mla_extend", "mla_sparse_decode")
    on_request = ("attention.mla_sparse_decode",)
    step_of = MappingProxyType(
        {
            "attention.mla_decode": "decode",
            "attention.mla_sparse_decode": "decode",
            "attention.mla_prefill": "prefill",
            "attention.mla_extend": "prefill",
        }
    )
    served = MappingProxyType({kind: f"attention.mla_{kind}" for kind in ("decode", "prefill", "extend")})
    properties = ("deterministic", "batch-invariant")
    step_modes = steps.MODES

    def default_mode(self, operation: str) -> Mode:
        """Decode runs from a CUDA graph in servers; prefill and extend don't."""
        return "graph" if operation in ("attention.mla_decode", "attention.mla_sparse_decode") else "eager"

    def run_for(self, model: SuiteModel, operation: str) -> str:
        """A decode step of a model with a sparse indexer reads the selected tokens only."""
        if operation == "attention.mla_decode" and model.topk is not None:
            return "attention.mla_sparse_decode"
        return operation

    def cost(self, workload: MlaWorkload) -> Cost:
        return costs.cost(workload)

    def memory_bytes(self, workload: MlaWorkload, page_layouts: int | None = None) -> int:
        return costs.memory_bytes(workload, page_layouts)

    def workloads(self, model: SuiteModel, operation: str, mode: Mode, request: SuiteRequest) -> list[MlaWorkload]:
        if request.latent is None:
            return []
        mla = cast("MlaOperation", operation)
        if mla == "attention.mla_sparse_decode" and model.topk is None:
            return []
        longest, found, latent = model.max_context, [], request.latent
        if mla == "attention.mla_prefill":
            # It reads no cache.
            latent = latent.model_copy(update={"kv_dtype": None})
        shapes = [
            shape
            for shape in narrowed(_ALIKE[mla], GRIDS[request.device_kind][mla], request.wanted)
            # A model is not asked for more than it was made for, unless the user asks.
            if request.wanted.contexts is not None or longest is None or shape.context <= longest
        ]
        if request.lengths is not None and mla == "attention.mla_decode":
            return [_over_lengths(model, latent, batch, mode, request, request.lengths) for batch in by_batch(shapes)]
        for shape in shapes:
            # Only a captured step depends on it.
            served = max(longest, shape.context) if longest is not None and mode == "graph" else None
            found.append(
                MlaWorkload(
                    operation=mla,
                    latent=latent,
                    batch=shape.batch,
                    new=shape.new,
                    context=shape.context,
                    mode=mode,
                    spread=request.spread or shape.spread,
                    served_context=served,
                    index_topk=model.topk,
                )
            )
        return found

    def step_layers(self, model: SuiteModel, request: StepRequest) -> list[StepLayer]:
        if request.latent is None:
            return []
        return steps.layers(request, request.latent, model.max_context, model.topk)

    def why_no_step(self, model: SuiteModel) -> str:
        return self.why_none(model, "attention.mla_sparse_decode")

    def why_none(self, model: SuiteModel, operation: str) -> str:
        if model.latent is None:
            has_it = "deepseek-v3.2" if operation == "attention.mla_sparse_decode" else "deepseek-v3"
            return f"it has no multi-head latent attention (MLA); {has_it} has"
        if operation == "attention.mla_sparse_decode" and model.topk is None:
            return "it has no sparse indexer, so all keys are read; deepseek-v3.2 has"
        if operation == "attention.mla_extend":
            return Message("no shape fits; an extend needs {fields.context} above {fields.new}")
        return Message("no shape of the grid fits the model's longest context; give {fields.context}")

    def sources(self) -> list[Path]:
        """With the judge, and the rules of lengths, pages and their garbage, which are those of attention."""
        beside = Path(__file__).parents[1] / "attention"
        return [*super().sources(), *(beside / name for name in ("problem.py", "paging.py", "reference.py"))]


def _over_lengths(
    model: SuiteModel,
    latent: LatentGeometry,
    found: Sequence[Shape],
    mode: Mode,
    request: SuiteRequest,
    lengths: LengthDistribution,
) -> MlaWorkload:
    """One batch size, over all lengths. A server captures it for the longest context that it serves."""
    contexts = [shape.context for shape in found]
    points = lengths.points(contexts)
    served = max(model.max_context or 0, lengths.longest(contexts))
    return MlaWorkload(
        operation="attention.mla_decode",
        latent=latent,
        batch=found[0].batch,
        context=points[-1].context,
        mode=mode,
        spread=request.spread or found[0].spread,
        served_context=served if mode == "graph" else None,
        index_topk=model.topk,
        points=points,
    )


FAMILY = MlaFamily()
