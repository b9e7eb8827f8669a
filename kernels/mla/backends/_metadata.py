"""What kernels of latent attention are told of a batch: functions over tensors that fill preallocated buffers in place.

The same functions serve a capture and each replay: they take the batch size from the caller, as buffers are as long as
the largest batch, never replace a tensor (a captured graph holds its address), and never wait for the device. Nothing
here imports torch before it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.problem import LatentPages, MlaProblem


def fill_block_table(out: torch.Tensor, indices: torch.Tensor, indptr: torch.Tensor, batch: int) -> None:
    """The page ids of each of the first ``batch`` requests, from the start of its row of ``out``.

    What lies behind a request's last page is left as it is: kernels read no further than its length.

    Args:
        out: [>= batch, most pages] int32.
        indices: [>= indptr[batch]] int32, page ids, one request after the other.
        indptr: [>= batch + 1] int32, where each request's pages begin.
    """
    import torch

    column = torch.arange(out.shape[1], dtype=torch.int32, device=out.device)
    place = indptr[:batch, None] + column
    own = place < indptr[1 : batch + 1, None]
    rows = out[:batch]
    rows.copy_(torch.where(own, indices[place.clamp_(max=len(indices) - 1)], rows))


def fill_lengths(out: torch.Tensor, lengths: torch.Tensor, batch: int) -> None:
    """``out[:batch]``: cached tokens of each request, new ones included."""
    out[:batch].copy_(lengths[:batch])


def fill_selected(table: torch.Tensor, counts: torch.Tensor, slots: torch.Tensor, batch: int) -> None:
    """What was selected for the first ``batch`` requests, the slots that are none behind the others.

    Kernels that read the first ``counts`` of a row must meet no -1 there: they would read outside of the cache.

    Args:
        table: [>= batch, selected] int32, written.
        counts: [>= batch] int32, written: slots of each row that are some.
        slots: [>= batch, selected] int32, -1 anywhere.
    """
    rows = slots[:batch]
    none = rows < 0
    table[:batch].copy_(rows.gather(1, none.int().argsort(dim=1, stable=True)))
    counts[:batch].copy_(table.shape[1] - none.sum(1))


@dataclass(frozen=True)
class TableBuffers:
    """The cache of a batch as a table of pages, on the device."""

    block_table: torch.Tensor
    """[batch, most pages] int32; page 0, the garbage, where a request has no page."""
    seq_lens: torch.Tensor
    """[batch] int32."""
    fill: Callable[[], None]
    """Writes both anew: the work of a new step."""
    refill: Callable[[LatentPages], None]
    """Writes both for the same batch at other lengths, none of them longer; so does ``fill`` from then on."""


@dataclass
class _Step:
    """The pages of a batch as they are now."""

    pages: LatentPages
    indptr: torch.Tensor
    """On the device."""


def table_buffers(problem: MlaProblem, pages: LatentPages) -> TableBuffers:
    """Filled buffers; for a graph as wide as the longest context served, as SGLang captures it.

    The width is what FlashAttention-3 takes for the longest key count, so it bounds the splits that a capture allows
    for.
    """
    import torch

    longest = max(pages.lengths)
    if problem.graph and problem.workload.served_context is not None:
        longest = max(longest, problem.workload.served_context)
    batch, step = len(pages.lengths), _Step(pages, pages.indptr.to(problem.device))
    table = torch.zeros(batch, -(-longest // pages.page_size), dtype=torch.int32, device=problem.device)
    seq_lens = torch.zeros(batch, dtype=torch.int32, device=problem.device)

    def fill() -> None:
        fill_block_table(table, step.pages.indices, step.indptr, batch)
        fill_lengths(seq_lens, step.pages.seq_lens, batch)

    def refill(other: LatentPages) -> None:
        step.pages, step.indptr = other, other.indptr.to(problem.device)
        fill()

    fill()
    return TableBuffers(table, seq_lens, fill, refill)
