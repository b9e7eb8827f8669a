"""The unfused transform, in torch: selected positions to slots or ragged indices. Registers no backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


def windows(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """Gives scores [rows, keys] of each row's window at the front; a copy where rows are packed."""
    import torch

    layout, scores = problem.layout, problem.scores
    if layout is None or layout.row_starts is None:
        return lambda: scores
    keys = problem.workload.keys
    columns = layout.row_starts.long()[:, None] + torch.arange(keys, device=scores.device)
    columns.clamp_(max=scores.shape[1] - 1)
    return lambda: scores.gather(1, columns)


def transform(problem: TopkProblem) -> Callable[[torch.Tensor], torch.Tensor]:
    """From int32 positions [rows, k], with -1 where there is none, to what the operation returns."""
    import torch

    layout = problem.layout
    assert layout is not None
    if layout.page_table is None:
        assert layout.topk_indices_offset is not None
        offset = layout.topk_indices_offset[:, None]
        return lambda positions: torch.where(positions < 0, positions, positions + offset)
    table, rows, page = layout.page_table, layout.row_to_table.long()[:, None], problem.workload.page_size

    def to_slots(positions: torch.Tensor) -> torch.Tensor:
        at = positions.clamp(min=0)
        if page == 1:
            return torch.where(positions < 0, positions, table[rows, at])
        slots = table[rows, at // page] * page + at % page
        return torch.where(positions < 0, positions, slots)

    return to_slots
