"""FlashAttention-3 over keys and values that are in no pages: new tokens without a prefix.

SGLang takes it only where nothing is cached (embedding models, no radix cache, no chunked prefill).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _fa3 as common
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.problem import AttentionProblem


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.geometry.q_dtype is not None or workload.geometry.cache_dtype != workload.geometry.dtype:
        return "the new tokens' keys are in the model's dtype; with an FP8 cache SGLang reads them from the pages"
    return common.why_not(workload, device)


def call_arguments(problem: AttentionProblem, out: Any) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func`` but for ``pack_gqa``."""
    indptr, longest = problem.qo_indptr.to(problem.device), max(problem.lengths.qo)
    return {
        "q": problem.q,
        "k": problem.k,
        "v": problem.v,
        "cu_seqlens_q": indptr,
        "cu_seqlens_k": indptr,
        "max_seqlen_q": longest,
        "max_seqlen_k": longest,
        "out": out,
        **common.layer_arguments(problem),
    }


@register(
    "attention.prefill",
    name="sgl_kernel.fa3_ragged",
    knobs={"pack_gqa": (None, False)},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
)
def prepare(problem: AttentionProblem, *, pack_gqa: bool | None) -> Prepared:
    import torch
    from sgl_kernel.flash_attn import flash_attn_varlen_func

    arguments = call_arguments(problem, torch.empty_like(problem.q))
    return Prepared(run=lambda: flash_attn_varlen_func(**arguments, pack_gqa=pack_gqa))
