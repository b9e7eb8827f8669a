"""A server's forward pass as latent attention sees it: what a batch of each forward mode holds. No torch."""

from __future__ import annotations

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.mla.workload import MlaOperation, MlaWorkload
from autotune_cli.kernels.steps import StepLayer, StepRequest

SPARSE_DECODE = "sparse_decode"
MODES = ("decode", "extend", SPARSE_DECODE)
"""SGLang's, and a word for a decode step over the tokens that an indexer selected."""
# What a batch looks like unless the user says so.
_DECODE_BATCH, _BATCH = 8, 4
_DECODE_CONTEXT, _NEW, _PREFIX = 2048, 128, 1024


def layers(
    request: StepRequest, latent: LatentGeometry, max_context: int | None, index_topk: int | None
) -> list[StepLayer]:
    """The one kind of layer. New tokens without a prefix have their keys and values projected up, as in SGLang.

    Args:
        max_context: the longest that the model was made for; None: not known.
        index_topk: tokens that its sparse indexer selects; None: it has none, so there is no sparse step.

    Raises:
        BadField: sizes that don't fit the mode.
    """
    if request.mode == SPARSE_DECODE and index_topk is None:
        return []
    operation, new, context = _step(request)
    decode = operation in ("attention.mla_decode", "attention.mla_sparse_decode")
    workload = MlaWorkload(
        operation=operation,
        latent=latent if operation != "attention.mla_prefill" else latent.model_copy(update={"kv_dtype": None}),
        batch=request.batch or (_DECODE_BATCH if decode else _BATCH),
        new=new,
        context=context,
        mode="eager",
        # A server captures for the longest context that it serves; eager steps don't depend on it.
        served_context=max(max_context, context) if max_context else None,
        index_topk=index_topk,
    )
    return [StepLayer(workload, workload.lengths)]


def _step(request: StepRequest) -> tuple[MlaOperation, int, int]:
    """Operation, new tokens and keys in all of the longest request.

    Raises:
        BadField: they don't fit the mode.
    """
    if request.mode != "extend":
        if request.new not in (None, 1):
            raise BadField(field="new", detail="a decode step has one new token a request")
        sparse = request.mode == SPARSE_DECODE
        operation: MlaOperation = "attention.mla_sparse_decode" if sparse else "attention.mla_decode"
        return operation, 1, request.context or _DECODE_CONTEXT
    new = request.new or _NEW
    context = request.context or (new + _PREFIX if request.prefix else new)
    if request.prefix and context <= new:
        text = "{keys} keys in all leave no prefix beside {new} new tokens ({without}: none)"
        detail = Message(text, keys=context, new=new, without=Field("prefix", False))
        raise BadField(field="context", detail=detail)
    if not request.prefix and context != new:
        raise BadField(field="context", detail=f"without a prefix it is the number of new tokens, {new}")
    return "attention.mla_extend" if request.prefix else "attention.mla_prefill", new, context
