"""Buffers of a candidate that is captured once and replayed at other lengths. No import of torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem


def own(problem: AttentionProblem, tensor: torch.Tensor) -> torch.Tensor:
    """A copy that a candidate may fill with other lengths, where the workload has such; candidates share the rest."""
    return tensor.clone() if problem.workload.points else tensor


def fill_tables(table: torch.Tensor, lengths: torch.Tensor, pages: PagedKV) -> None:
    """The page table [batch, >= most pages] and the lengths [batch] of a step. Entries of ``table`` behind the longest
    request's are left as they are, as in a server.
    """
    table[:, : pages.block_tables.shape[1]].copy_(pages.block_tables)
    lengths.copy_(pages.seq_lens)
