"""From a request and a model to kinds of layers, each with its workload and the lengths of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.attention.trees import Tree, draw_trees
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.request import TOPK, PathRequest

# What a batch looks like unless the user says so.
_BATCH: dict[str, int] = {"decode": 8, "topk": 16}
_NEW: dict[str, int] = {"target_verify": 4, "draft_extend": 4, "draft_extend_v2": 4, "dllm_extend": 32}
# Drafts of a tree, the root included: what SGLang takes for Llama if nobody says (5 steps of 4).
_TREE = 8
_CONTEXT: dict[str, int] = {"decode": 2048, "topk": 65536}


@dataclass(frozen=True)
class PathLayer:
    """One kind of layer: its geometry and the batch's lengths (None: the workload's own)."""

    workload: AnyWorkload
    lengths: Lengths | None = None
    trees: tuple[Tree, ...] | None = None
    """Of each request, where its new tokens are drafts of a tree."""

    @property
    def new_tokens(self) -> int:
        """New tokens of all requests; 0 for a selection of keys, which has none."""
        return sum(self.lengths.qo) if self.lengths else 0


def layers_of(request: PathRequest, model: Model, geometries: Sequence[Geometry]) -> tuple[PathLayer, ...]:
    """One layer for each geometry; of a selection of keys one in all.

    Raises:
        BadField: sizes that don't fit the mode.
        NothingToRun: the mode runs no attention, or the model has none.
    """
    if request.mode == "idle":
        raise NothingToRun(detail=Message("{mode}: no request, so no attention runs", mode=Field("mode", "idle")))
    layers = _topk_layers(request, model) if request.mode == TOPK else _attention_layers(request, model, geometries)
    if not layers:
        raise NothingToRun(detail=f"{model.name}: {_why_none(request, model)}")
    return layers


def _why_none(request: PathRequest, model: Model) -> str:
    if request.mode == TOPK:
        return "it has no sparse indexer, so no top-k"
    return "; ".join(model.notes) or "no attention layer that is known here"


def _topk_layers(request: PathRequest, model: Model) -> tuple[PathLayer, ...]:
    if model.topk is None:
        return ()
    if request.new is not None:
        raise BadField(field="new", detail="a selection has no new tokens")
    rows, width = request.batch or _BATCH[TOPK], request.context or _CONTEXT[TOPK]
    return (PathLayer(TopkWorkload.select(rows=rows, width=width, k=model.topk)),)


def _attention_layers(request: PathRequest, model: Model, geometries: Sequence[Geometry]) -> tuple[PathLayer, ...]:
    batch = request.batch or _BATCH.get(request.mode, 4)
    if request.mode == "decode":
        if request.new not in (None, 1):
            raise BadField(field="new", detail="a decode step has one new token a request")
        new, context = 1, request.context or _CONTEXT["decode"]
    else:
        new = request.new or (_TREE if request.is_tree else _NEW.get(request.mode, 128))
        context = request.context or (new + 1024 if request.prefix else new)
        if request.prefix and context <= new:
            text = "{keys} keys in all leave no prefix beside {new} new tokens ({without}: none)"
            detail = Message(text, keys=context, new=new, without=Field("prefix", False))
            raise BadField(field="context", detail=detail)
        if not request.prefix and context != new:
            raise BadField(field="context", detail=f"without a prefix it is the number of new tokens, {new}")
    # The same in all layers: a step has one tree for each request.
    trees = None if request.eagle_topk is None else draw_trees(batch, new, request.eagle_topk, request.seed)
    found = []
    for geometry in geometries:
        decode = request.mode == "decode"
        workload = AttentionWorkload.step(geometry, batch=batch, new=new, context=context, decode=decode)
        # A server captures for the longest context that it serves; eager steps don't depend on it.
        served = {"served_context": max(model.max_context, context)} if model.max_context else {}
        found.append(PathLayer(workload.model_copy(update=served), _lengths(request.mode, workload), trees))
    return tuple(found)


def _lengths(mode: str, workload: AttentionWorkload) -> Lengths:
    """What a batch of the mode holds."""
    qo, kv = workload.lengths
    prefixes = [keys - new for new, keys in zip(qo, kv, strict=True)]
    if mode == "mixed":  # every second request decodes
        qo = tuple(1 if number % 2 else new for number, new in enumerate(qo))
    elif mode in ("target_verify", "dllm_extend"):  # a fixed number of draft tokens, or of a block's
        qo = (workload.new,) * workload.batch
    else:  # of a draft, too, each request's accepted tokens are a number of their own
        return Lengths(qo, kv)
    return Lengths(qo, tuple(new + cached for new, cached in zip(qo, prefixes, strict=True)))
