"""CUTLASS's latent decode for Blackwell as sgl_kernel ships it. SGLang's ``--attention-backend cutlass_mla``.

In sglang-kernel 0.4.5; 0.4.10 has dropped it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.problem import MlaProblem

# SGLang sets it; the kernel's tables must hold whole multiples of 128 tokens.
PAGE_SIZE = 128
_WIDTHS = (512, 64)
# The kernel computes as many always.
MOST_HEADS = 128


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g, (major, minor) = workload.latent, device.capability or (0, 0)
    if major != 10:
        return f"CUTLASS's latent decode is for compute capability 10.0 (Blackwell), this is {major}.{minor}"
    if (g.kv_lora_rank, g.qk_rope_head_dim) != _WIDTHS:
        found = f"{g.kv_lora_rank} + {g.qk_rope_head_dim}"
        return f"CUTLASS's latent decode is compiled for cached tokens of 512 + 64 numbers, not {found}"
    if g.dtype not in ("bfloat16", "float16") or g.cache_dtype != g.dtype:
        return f"CUTLASS's latent decode takes bfloat16 or float16 throughout, not {g.dtype} on {g.cache_dtype}"
    if g.num_heads > MOST_HEADS:
        return f"CUTLASS's latent decode has room for {MOST_HEADS} heads, not {g.num_heads}"
    return None


@register(
    "attention.mla_decode",
    name="sgl_kernel.cutlass_mla",
    # 1 is SGLang's, as a graph must not outgrow it.
    knobs={"num_kv_splits": (1,)},
    requires=("sgl_kernel.attention:cutlass_mla_decode",),
    install="pip install sglang-kernel==0.4.5",
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 10.0",
)
def prepare(problem: MlaProblem, *, num_kv_splits: int) -> Prepared:
    """The workspace has room for the widest table; fewer than 128 heads are filled up inside the call."""
    import torch
    from sgl_kernel import cutlass_mla_decode, cutlass_mla_get_workspace_size

    pages = problem.paged(PAGE_SIZE)
    buffers = metadata.table_buffers(problem, pages)
    batch, width = buffers.block_table.shape
    size = cutlass_mla_get_workspace_size(width * PAGE_SIZE, batch, num_kv_splits=num_kv_splits)
    arguments: dict[str, Any] = {
        "q_nope": problem.q_nope,
        "q_pe": problem.q_pe,
        "kv_c_and_k_pe_cache": pages.pool,
        "seq_lens": buffers.seq_lens,
        "page_table": buffers.block_table,
        "workspace": torch.empty(size, dtype=torch.uint8, device=problem.device),
        "sm_scale": problem.geometry.scale,
        "num_kv_splits": num_kv_splits,
    }

    def refill(other: MlaProblem) -> None:
        buffers.refill(other.paged(PAGE_SIZE))

    return Prepared(
        run=lambda: cutlass_mla_decode(**arguments),
        plan=buffers.fill,
        refill=refill,
        frozen=f"{num_kv_splits} parts of a request" if num_kv_splits > 1 else "no splits",
    )
