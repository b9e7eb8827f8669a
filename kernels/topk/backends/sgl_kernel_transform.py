"""sgl_kernel's fused selections: what SGLang runs by default, from 0.5.16 on only where its JIT kernel has no path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends import _sgl_kernel

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload


def _unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.page_size > 1:
        return f"takes a page table of single keys, this has pages of {workload.page_size}"
    return _sgl_kernel.unsupported(workload, device, knobs)


@register(
    "topk.paged",
    name="sgl_kernel.fast_topk_transform_fused",
    requires=("sgl_kernel",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=_unsupported,
)
def prepare_paged(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """It finds a row's request by ``cu_seqlens_q``. Rows of the table that ``batch_idx_list`` names are copied on every
    call, as SGLang does (``dsa_topk_backend.py``, 0.5.16 and 0.5.23).
    """
    from sgl_kernel import fast_topk_transform_fused

    layout = problem.layout
    assert layout is not None
    scores, lengths, k, table = problem.scores, problem.lengths, problem.k, layout.page_table
    assert table is not None
    queries, starts, listed = layout.cu_seqlens_q, layout.row_starts, layout.batch_idx_list

    def run() -> torch.Tensor:
        own = table if listed is None else table.index_select(0, listed)
        slots: torch.Tensor = fast_topk_transform_fused(scores, lengths, own, queries, k, row_starts=starts)
        return slots

    return run


@register(
    "topk.ragged",
    name="sgl_kernel.fast_topk_transform_ragged_fused",
    requires=("sgl_kernel",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=_unsupported,
)
def prepare_ragged(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """``row_starts`` may be left out only where no row is longer than k (``sgl_kernel/top_k.py``), so there always are
    some.
    """
    import torch
    from sgl_kernel import fast_topk_transform_ragged_fused

    layout = problem.layout
    assert layout is not None
    scores, lengths, k, offsets = problem.scores, problem.lengths, problem.k, layout.topk_indices_offset
    starts = torch.zeros_like(lengths) if layout.row_starts is None else layout.row_starts

    def run() -> torch.Tensor:
        indices: torch.Tensor = fast_topk_transform_ragged_fused(scores, lengths, offsets, k, row_starts=starts)
        return indices

    return run
