"""FlashAttention-3 as sgl_kernel ships it, absorbed: SGLang's latent attention on Hopper.

The rotated parts are queries and keys, the latent part of the cache is values, and ``qv`` is what queries are
multiplied with them beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends._fa3 import frozen_splits
from autotune_cli.kernels.mla.backends import _fa3 as common
from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.problem import MlaProblem

# From 64 on, whole pages come by TMA where a request has more rows than a tile (get_pagedkv_tma [S]).
PAGE_SIZES = (1, 16, 64, 128)
# Where a number of splits is fixed, and where the scheduler's metadata is made outside the call.
_SPLIT_PAGES = (1, 64)


def knobs(workload: MlaWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``num_splits``: parts of the keys, 0 = the library's choice. ``scheduler_metadata``: made once a step, outside
    the call (decode only; SGLang makes none for latent attention).
    """
    fixed = common.splits(workload, device)
    decode = workload.operation == "attention.mla_decode"
    outside = {"scheduler_metadata": False} if decode else {}
    for page_size in PAGE_SIZES:
        for num_splits in (0, 1, *(fixed if page_size in _SPLIT_PAGES else ())):
            yield {"page_size": page_size, "num_splits": num_splits, **outside}
        if decode and page_size in _SPLIT_PAGES:
            yield {"page_size": page_size, "num_splits": 0, "scheduler_metadata": True}


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not_absorbed(workload, device)


@register(
    "attention.mla_decode",
    "attention.mla_extend",
    name="sgl_kernel.fa3_mla",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0",
)
def prepare(problem: MlaProblem, *, page_size: int, num_splits: int, scheduler_metadata: bool = False) -> Prepared:
    """The new tokens lie in the pages before the call. ``plan`` writes the table, the lengths and the metadata."""
    import torch
    from sgl_kernel.flash_attn import flash_attn_with_kvcache, get_scheduler_metadata

    g, pages = problem.geometry, problem.paged(page_size)
    buffers = metadata.table_buffers(problem, pages)
    arguments: dict[str, Any] = {
        "q": problem.q_pe,
        "qv": problem.q_nope,
        "k_cache": pages.k,
        "v_cache": pages.v,
        "page_table": buffers.block_table,
        "cache_seqlens": buffers.seq_lens,
        "cu_seqlens_q": problem.qo_indptr.to(problem.device),
        "max_seqlen_q": max(problem.lengths.qo),
        "softmax_scale": g.scale,
        "causal": True,
        "num_splits": num_splits,
        "out": torch.empty_like(problem.q_nope),
    }
    plan, step = buffers.fill, {"longest": max(problem.lengths.kv)}
    if scheduler_metadata:
        wanted = {
            "batch_size": len(problem.lengths.qo),
            "max_seqlen_q": arguments["max_seqlen_q"],
            "num_heads": g.num_heads,
            "num_heads_k": 1,
            "headdim": g.qk_rope_head_dim,
            "headdim_v": g.kv_lora_rank,
            "cache_seqlens": buffers.seq_lens,
            "qkv_dtype": problem.cache_dtype,
            "cu_seqlens_q": arguments["cu_seqlens_q"],
            "page_size": page_size,
            "causal": True,
            "num_splits": num_splits,
        }
        kept = arguments["scheduler_metadata"] = get_scheduler_metadata(max_seqlen_k=step["longest"], **wanted)

        def plan() -> None:
            buffers.fill()
            kept.copy_(get_scheduler_metadata(max_seqlen_k=step["longest"], **wanted))

    def refill(other: MlaProblem) -> None:
        buffers.refill(other.paged(page_size))
        step["longest"] = max(other.lengths.kv)
        plan()

    frozen = frozen_splits(num_splits, buffers.block_table.shape[1] * page_size)
    return Prepared(run=lambda: flash_attn_with_kvcache(**arguments), plan=plan, refill=refill, frozen=frozen)
