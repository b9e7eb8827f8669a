"""FlashAttention-3 as sgl_kernel ships it over the selected tokens: SGLang's decode of DeepSeek-V3.2 on Hopper.

The page table, of pages of one token, holds the selected slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _fa3 as common
from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.problem import SelectedProblem


def knobs(workload: MlaWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``num_splits``: parts of the selected tokens, 0 = the library's choice."""
    blocks = -(-max(workload.read) // common.TILE)
    for num_splits in (0, 1, *(count for count in common.splits(workload, device) if count <= blocks)):
        yield {"num_splits": num_splits}


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not_absorbed(workload, device)


@register(
    "attention.mla_sparse_decode",
    name="sgl_kernel.fa3_mla_sparse",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0",
)
def prepare(problem: SelectedProblem, *, num_splits: int) -> Prepared:
    """``plan`` moves the slots that are none behind the others: the kernel reads the first of each row."""
    import torch
    from sgl_kernel.flash_attn import flash_attn_with_kvcache

    pages, slots = problem.paged(1), problem.slots(1)
    batch = len(slots)
    table = torch.zeros_like(slots)
    counts = torch.zeros(batch, dtype=torch.int32, device=problem.device)

    def plan() -> None:
        metadata.fill_selected(table, counts, slots, batch)

    plan()
    arguments: dict[str, Any] = {
        "q": problem.q_pe,
        "qv": problem.q_nope,
        "k_cache": pages.k,
        "v_cache": pages.v,
        "page_table": table,
        "cache_seqlens": counts,
        "cu_seqlens_q": problem.qo_indptr.to(problem.device),
        "max_seqlen_q": 1,
        "softmax_scale": problem.geometry.scale,
        "causal": True,
        "num_splits": num_splits,
        "out": torch.empty_like(problem.q_nope),
    }
    return Prepared(run=lambda: flash_attn_with_kvcache(**arguments), plan=plan)
