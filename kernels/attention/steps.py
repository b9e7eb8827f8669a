"""A server's forward pass as attention sees it: what a batch of each of SGLang's forward modes holds. No torch."""

from __future__ import annotations

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.attention.trees import draw_trees
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.steps import StepLayer, StepRequest

CROSS = "cross"
MODES = ("decode", "extend", "mixed", "target_verify", "draft_extend", "draft_extend_v2", "dllm_extend", CROSS)
"""SGLang's, but for the one that runs no request; and a word for new tokens over the keys of an encoder."""
# What a batch looks like unless the user says so.
_BATCH = {"decode": 8}
# Whisper's encoder makes as many of each 30 seconds.
_ENCODER_KEYS = 1500
_NEW = {"target_verify": 4, "draft_extend": 4, "draft_extend_v2": 4, "dllm_extend": 32}
# Drafts of a tree, the root included: what SGLang takes for Llama if nobody says (5 steps of 4).
_TREE = 8
_CONTEXT = {"decode": 2048}


def layers(request: StepRequest, max_context: int | None) -> list[StepLayer]:
    """A layer for each geometry; over an encoder's keys, of which every query sees all, for each without a window.

    Args:
        max_context: the longest that the model was made for; None: not known.

    Raises:
        BadField: sizes that don't fit the mode.
    """
    batch = request.batch or _BATCH.get(request.mode, 4)
    if request.mode == CROSS:
        return _over_an_encoder(request, batch)
    new, context = _sizes(request)
    # The same in all layers: a step has one tree for each request.
    trees = None if request.eagle_topk is None else draw_trees(batch, new, request.eagle_topk, request.seed)
    found = []
    for geometry in request.geometries:
        decode = request.mode == "decode"
        workload = AttentionWorkload.step(geometry, batch=batch, new=new, context=context, decode=decode)
        # A server captures for the longest context that it serves; eager steps don't depend on it.
        served = {"served_context": max(max_context, context)} if max_context else {}
        found.append(StepLayer(workload.model_copy(update=served), _lengths(request.mode, workload), trees))
    return found


def _over_an_encoder(request: StepRequest, batch: int) -> list[StepLayer]:
    new, context = request.new or 128, request.context or _ENCODER_KEYS
    shared = {"operation": "attention.cross", "batch": batch, "new": new, "context": context, "mode": "eager"}
    full = dict.fromkeys(geometry for geometry in request.geometries if geometry.window_left is None)
    workloads = [AttentionWorkload.model_validate({**shared, "geometry": geometry}) for geometry in full]
    return [StepLayer(workload, workload.lengths) for workload in workloads]


def _sizes(request: StepRequest) -> tuple[int, int]:
    """New tokens and keys in all of the longest request.

    Raises:
        BadField: they don't fit the mode.
    """
    if request.mode == "decode":
        if request.new not in (None, 1):
            raise BadField(field="new", detail="a decode step has one new token a request")
        return 1, request.context or _CONTEXT["decode"]
    is_tree = request.eagle_topk is not None and request.eagle_topk > 1
    new = request.new or (_TREE if is_tree else _NEW.get(request.mode, 128))
    context = request.context or (new + 1024 if request.prefix else new)
    if request.prefix and context <= new:
        text = "{keys} keys in all leave no prefix beside {new} new tokens ({without}: none)"
        detail = Message(text, keys=context, new=new, without=Field("prefix", False))
        raise BadField(field="context", detail=detail)
    if not request.prefix and context != new:
        raise BadField(field="context", detail=f"without a prefix it is the number of new tokens, {new}")
    return new, context


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
