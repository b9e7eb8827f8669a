"""What kernels are told of a batch: small functions over tensors that fill preallocated buffers in place.

The same functions serve a capture and each replay. They take the batch size from the caller, as buffers are as long as
the largest batch: rows of ``lengths`` and ``table`` beyond it are stale. They write nothing beyond what the batch
needs, never replace a tensor (a captured graph holds its address), and never wait for the device. Nothing here imports
torch before it is called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class KVBuffers:
    """The keys that each request's queries see, in pages. All int32, on the device."""

    kv_indptr: torch.Tensor
    """[largest batch + 1]: where each request's pages begin in ``kv_indices``."""
    kv_indices: torch.Tensor
    """[most pages]: page ids, one request after the other."""
    kv_lens: torch.Tensor
    """[largest batch]: tokens in these pages, counted from the start of the first one."""

    @classmethod
    def allocate(cls, batch: int, pages: int, device: str) -> KVBuffers:
        """Buffers for up to ``batch`` requests that have up to ``pages`` pages together."""
        import torch

        sizes = (batch + 1, max(1, pages), batch)
        return cls(*(torch.zeros(size, dtype=torch.int32, device=device) for size in sizes))


def fill_kv(
    buffers: KVBuffers,
    table: torch.Tensor,
    lengths: torch.Tensor,
    batch: int,
    *,
    page_size: int,
    new: torch.Tensor | None = None,
    window_left: int | None = None,
) -> None:
    """Fill ``kv_indptr``, ``kv_indices`` and ``kv_lens`` of a kind of layers for the first ``batch`` requests.

    A full layer has all ``lengths``; a layer with a window has buffers of its own, with the pages that a query of the
    request sees. ``lengths`` holds the new tokens already, so they are never added.

    Args:
        table: [>= batch, most pages] page ids of each request.
        lengths: [>= batch] keys of each request, new ones included.
        new: [>= batch] its new tokens; None: one each, a decode step.
        window_left: keys that a query sees beside its own; None: all.
    """
    lengths = lengths[:batch]
    first_page = first_seen(lengths, None if new is None else new[:batch], window_left) // page_size
    left = lengths - first_page * page_size
    buffers.kv_lens[:batch] = left
    fill_indptr(buffers.kv_indptr, -(-left // page_size), batch)
    _gather(buffers.kv_indices, table[:batch], first_page, buffers.kv_indptr[: batch + 1])


def first_seen(lengths: torch.Tensor, new: torch.Tensor | None, window_left: int | None) -> torch.Tensor:
    """[batch] the first key that any of a request's new tokens sees: its first new token's window begins there."""
    import torch

    if window_left is None:
        return torch.zeros_like(lengths)
    return (lengths - (1 if new is None else new) - window_left).clamp_(min=0)


def fill_indptr(out: torch.Tensor, counts: torch.Tensor, batch: int) -> None:
    """``out[: batch + 1]``: 0 and the running sums of ``counts``; of new tokens it is ``qo_indptr``."""
    import torch

    out[:1] = 0
    out[1 : batch + 1] = torch.cumsum(counts[:batch], 0)


def fill_equal_parts(out: torch.Tensor, lengths: torch.Tensor, batch: int, *, splits: int, block: int) -> None:
    """``out[:batch]``: parts of each request, so that the longest has ``splits`` and no part of another is longer.

    Parts are whole blocks of keys, at least one each.
    """
    lengths = lengths[:batch]
    part = _ceil(_ceil(lengths.max(), splits), block).clamp_(min=1) * block
    out[:batch] = _ceil(lengths, part).clamp_(1, splits)


def fill_sglang_splits(
    out: torch.Tensor,
    lengths: torch.Tensor,
    batch: int,
    *,
    num_qo_heads: int,
    num_kv_heads: int,
    most: int,
    multiprocessors: int,
    per_request: int = 1,
) -> None:
    """``out[: batch * per_request]``: parts of each query token, as SGLang's Triton backend counts them.

    ``get_num_kv_splits_triton``, 0.5.12 to 0.5.23; ``most`` is 8 by default there. A request's ``per_request`` tokens
    get the same number. Two part lengths are computed, and the one that gives more parts counts: one evens out requests
    that differ in length by a quarter or more, one fills the GPU, which counts for more multiprocessors the longer the
    longest request is.
    """
    import torch

    lengths = lengths[:batch].long()
    longest, shortest = lengths.max(), lengths.min()
    shortest = torch.where(8 * longest < 10 * shortest, longest, shortest).clamp(min=1)
    part_even = _ceil(longest, _ceil(longest, shortest).clamp(max=most)).clamp(min=1)
    group = num_qo_heads // num_kv_heads
    blocks = batch * per_request * (num_qo_heads if group == 1 else math.ceil(num_qo_heads / min(16, group)))
    counted = (multiprocessors * torch.log2(longest.float() / 64).clamp(min=1)).long()
    part_full = _ceil(longest, _ceil(counted, blocks).clamp(max=most)).clamp(min=1)
    parts = torch.maximum(_ceil(lengths, part_even), _ceil(lengths, part_full)).clamp(min=1)
    out[: batch * per_request] = parts.repeat_interleave(per_request)


def _ceil(number: torch.Tensor, divisor: torch.Tensor | int) -> torch.Tensor:
    return -(-number // divisor)


def _gather(out: torch.Tensor, table: torch.Tensor, first: torch.Tensor, indptr: torch.Tensor) -> None:
    """``out[: indptr[-1]]``: of each row of ``table``, its entries from ``first`` on. The shapes depend on the buffers
    alone: the number of pages stays on the device.
    """
    import torch

    entry = torch.arange(len(out), device=out.device, dtype=torch.int32)
    row = torch.searchsorted(indptr[1:], entry, right=True).clamp_(max=len(table) - 1)
    column = (entry - indptr[row] + first[row]).clamp_(0, table.shape[1] - 1)
    out.copy_(torch.where(entry < indptr[-1], table[row, column], out))
