"""FlashMLA as sgl_kernel ships it: dense decode over pages of 64. SGLang's ``--attention-backend flashmla``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.problem import MlaProblem

# The only one that the kernel takes.
PAGE_SIZE = 64
_WIDTHS = (512, 64)


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g, (major, minor) = workload.latent, device.capability or (0, 0)
    if major != 9:
        return f"FlashMLA's dense decode is for compute capability 9.0, this is {major}.{minor}"
    if (g.kv_lora_rank, g.qk_rope_head_dim) != _WIDTHS:
        found = f"{g.kv_lora_rank} + {g.qk_rope_head_dim}"
        return f"FlashMLA is compiled for cached tokens of 512 + 64 numbers, not {found}"
    if g.dtype not in ("bfloat16", "float16"):
        return f"FlashMLA takes bfloat16 or float16 queries, not {g.dtype}"
    if g.cache_dtype != g.dtype:
        return f"FlashMLA reads a {g.cache_dtype} cache for queries of that dtype only, not for {g.dtype} ones"
    return None


@register(
    "attention.mla_decode",
    name="sgl_kernel.flashmla",
    requires=("sgl_kernel.flash_mla",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0",
)
def prepare(problem: MlaProblem) -> Prepared:
    """Queries come as one tensor of both parts, which the layer joins. ``plan`` shares the keys out anew.

    The call returns a new output each time; a captured graph keeps it.
    """
    from sgl_kernel.flash_mla import flash_mla_with_kvcache, get_mla_metadata

    g, pages = problem.geometry, problem.paged(PAGE_SIZE)
    buffers = metadata.table_buffers(problem, pages)
    heads = problem.q.shape[1]
    schedule, num_splits = get_mla_metadata(buffers.seq_lens, heads, 1, is_fp8_kvcache=False)

    def plan() -> None:
        buffers.fill()
        # How many rows the schedule has follows from the GPU and the heads, so a graph's buffer stays as long.
        for kept, made in zip(
            (schedule, num_splits), get_mla_metadata(buffers.seq_lens, heads, 1, is_fp8_kvcache=False), strict=True
        ):
            kept.copy_(made)

    arguments: dict[str, Any] = {
        "q": problem.q[:, None],
        "k_cache": pages.pool[:, :, None],
        "block_table": buffers.block_table,
        "cache_seqlens": buffers.seq_lens,
        "head_dim_v": g.kv_lora_rank,
        "tile_scheduler_metadata": schedule,
        "num_splits": num_splits,
        "softmax_scale": g.scale,
        "causal": True,
    }

    def run() -> Any:
        out, _ = flash_mla_with_kvcache(**arguments)
        return out[:, 0]

    def refill(other: MlaProblem) -> None:
        buffers.refill(other.paged(PAGE_SIZE))
        plan()

    frozen = f"a schedule of {len(schedule)} parts; the keys are shared out anew"
    return Prepared(run=run, plan=plan, refill=refill, frozen=frozen)
