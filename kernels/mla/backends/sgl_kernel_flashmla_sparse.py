"""FlashMLA's sparse kernel as sgl_kernel ships it, over the selected tokens of a bfloat16 cache. SGLang's
``--dsa-decode-backend flashmla_sparse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.problem import SelectedProblem

_WIDTHS = (512, 64)
# Heads that the kernel computes at once, by major compute capability (dsa_backend.py of SGLang 0.5.23).
_HEADS = {9: 64, 10: 128}
# The only selection that it is known to take: DeepSeek-V3.2's and GLM-5's.
_SELECTED = 2048


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g, (major, minor) = workload.latent, device.capability or (0, 0)
    if major not in _HEADS:
        return f"FlashMLA's sparse kernel is for compute capability 9.0 and 10.0, this is {major}.{minor}"
    if (g.kv_lora_rank, g.qk_rope_head_dim) != _WIDTHS:
        return (
            f"FlashMLA is compiled for cached tokens of 512 + 64 numbers, not {g.kv_lora_rank} + {g.qk_rope_head_dim}"
        )
    if (g.dtype, g.cache_dtype) != ("bfloat16", "bfloat16"):
        return f"FlashMLA's sparse kernel takes bfloat16 queries and cache, not {g.dtype} and {g.cache_dtype}"
    if workload.index_topk != _SELECTED:
        return f"FlashMLA's sparse kernel is known to take {_SELECTED} selected tokens, not {workload.index_topk}"
    return None


@register(
    "attention.mla_sparse_decode",
    name="sgl_kernel.flashmla_sparse",
    requires=("sgl_kernel.flash_mla:flash_mla_sparse_fwd",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0 or 10.0",
)
def prepare(problem: SelectedProblem) -> Prepared:
    """Heads are filled up to what the kernel computes at once, in the call, as SGLang does it."""
    import torch
    from sgl_kernel.flash_mla import flash_mla_sparse_fwd

    g, pages, slots, queries = problem.geometry, problem.paged(1), problem.slots(1), problem.q
    batch, heads = len(slots), g.num_heads
    table = torch.zeros_like(slots)
    counts = torch.zeros(batch, dtype=torch.int32, device=problem.device)

    def plan() -> None:
        metadata.fill_selected(table, counts, slots, batch)

    plan()
    major = torch.cuda.get_device_capability(problem.q.device)[0] if queries.is_cuda else 9
    at_once = _HEADS.get(major, 64)
    filled = queries.new_zeros(batch, -(-heads // at_once) * at_once, g.width)
    arguments: dict[str, Any] = {
        "kv": pages.pool,
        "indices": table[:, None],
        "sm_scale": g.scale,
        "d_v": g.kv_lora_rank,
        "topk_length": counts,
    }

    def run() -> torch.Tensor:
        q = queries
        if filled.shape[1] != heads:
            filled[:, :heads] = queries
            q = filled
        out: torch.Tensor = flash_mla_sparse_fwd(q=q, **arguments)[0]
        return out[:, :heads]

    return Prepared(run=run, plan=plan)
