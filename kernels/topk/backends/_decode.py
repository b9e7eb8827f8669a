"""What selections for decode steps can't do. Registers no backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.kernels.topk.workload import TopkWorkload


def not_a_decode_step(workload: TopkWorkload) -> str | None:
    """Why a kernel that takes a page table's row for each row of scores doesn't apply, or None."""
    if workload.requests is not None or workload.batch_idx_list:
        return "takes one query of each request, in the order of the page table, as a decode step has them"
    return None


def too_many(workload: TopkWorkload, most: int) -> str | None:
    """Why a kernel that selects no more than so many doesn't apply, or None."""
    return f"selects at most {most}, this is k = {workload.k}" if workload.k > most else None


def not_float32(workload: TopkWorkload) -> str | None:
    return None if workload.dtype == "float32" else f"takes float32 scores only, these are {workload.dtype}"
