# Triton's decorator and language have no types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
"""What the Triton backends are told of a batch, filled by Triton kernels: as :mod:`._metadata` fills it by torch, in a
few launches instead of some forty, which take the host a millisecond a step. Needs Triton.

Of one program each but for the gathering of page ids: a batch has thousands of requests at most.
"""

from __future__ import annotations

import triton
import triton.language as tl

_REQUESTS = 256
_PAGES = 1024


@triton.jit
def _first_page(length, new, WINDOW: tl.constexpr, PAGE: tl.constexpr):
    """The page of the first key that any of a request's new tokens sees."""
    return tl.maximum(length - new - WINDOW, 0) // PAGE if WINDOW >= 0 else length * 0


@triton.jit(do_not_specialize=["batch"])
def kv_lens_kernel(
    lengths, new, kv_lens, kv_indptr, batch, WINDOW: tl.constexpr, PAGE: tl.constexpr, REQUESTS: tl.constexpr
):
    """``kv_lens`` [batch] and ``kv_indptr`` [batch + 1] of ``lengths`` and ``new`` [batch]; all int32. Grid: (1)."""
    total = 0
    tl.store(kv_indptr, 0)
    for start in range(0, batch, REQUESTS):
        row = start + tl.arange(0, REQUESTS)
        mine = row < batch
        length = tl.load(lengths + row, mask=mine, other=0)
        left = length - _first_page(length, tl.load(new + row, mask=mine, other=0), WINDOW, PAGE) * PAGE
        pages = (left + PAGE - 1) // PAGE
        tl.store(kv_lens + row, left, mask=mine)
        tl.store(kv_indptr + 1 + row, total + tl.cumsum(pages, 0), mask=mine)
        total += tl.sum(pages, 0)


@triton.jit(do_not_specialize=["stride"])
def kv_indices_kernel(
    table, lengths, new, kv_indptr, kv_indices, stride, WINDOW: tl.constexpr, PAGE: tl.constexpr, PAGES: tl.constexpr
):
    """``kv_indices`` [pages of all requests] from ``table`` [batch, stride]. Grid: (batch, PAGES of the table each)."""
    row, column = tl.program_id(0), tl.program_id(1) * PAGES + tl.arange(0, PAGES)
    begin = tl.load(kv_indptr + row)
    mine = column < tl.load(kv_indptr + row + 1) - begin
    first = _first_page(tl.load(lengths + row), tl.load(new + row), WINDOW, PAGE)
    pages = tl.load(table + row.to(tl.int64) * stride + first + column, mask=mine, other=0)
    tl.store(kv_indices + begin + column, pages, mask=mine)


@triton.jit(do_not_specialize=["batch", "splits"])
def equal_parts_kernel(lengths, counts, batch, splits, BLOCK: tl.constexpr, REQUESTS: tl.constexpr):
    """``counts`` [batch] as :func:`._metadata.fill_equal_parts` has them. Grid: (1)."""
    longest = 0
    for start in range(0, batch, REQUESTS):
        row = start + tl.arange(0, REQUESTS)
        longest = tl.maximum(longest, tl.max(tl.load(lengths + row, mask=row < batch, other=0), 0))
    part = tl.maximum(tl.cdiv(tl.cdiv(longest, splits), BLOCK), 1) * BLOCK
    for start in range(0, batch, REQUESTS):
        row = start + tl.arange(0, REQUESTS)
        length = tl.load(lengths + row, mask=row < batch, other=0)
        tl.store(counts + row, tl.minimum(tl.maximum(tl.cdiv(length, part), 1), splits), mask=row < batch)


@triton.jit(do_not_specialize=["batch", "blocks", "most", "multiprocessors"])
def sglang_parts_kernel(lengths, counts, batch, blocks, most, multiprocessors, REQUESTS: tl.constexpr):
    """``counts`` [batch] as :func:`._metadata.fill_sglang_splits` has them; ``blocks``: programs without splits.

    Grid: (1).
    """
    longest, shortest = 0, 2147483647
    for start in range(0, batch, REQUESTS):
        row = start + tl.arange(0, REQUESTS)
        mine = row < batch
        longest = tl.maximum(longest, tl.max(tl.load(lengths + row, mask=mine, other=0), 0))
        shortest = tl.minimum(shortest, tl.min(tl.load(lengths + row, mask=mine, other=2147483647), 0))
    shortest = tl.maximum(
        tl.where(tl.cast(longest, tl.int64) * 8 < tl.cast(shortest, tl.int64) * 10, longest, shortest), 1
    )
    even = tl.maximum(tl.cdiv(longest, tl.minimum(tl.cdiv(longest, shortest), most)), 1)
    counted = (multiprocessors * tl.maximum(tl.log2(tl.cast(longest, tl.float32) / 64.0), 1.0)).to(tl.int32)
    full = tl.maximum(tl.cdiv(longest, tl.minimum(tl.cdiv(counted, blocks), most)), 1)
    for start in range(0, batch, REQUESTS):
        row = start + tl.arange(0, REQUESTS)
        length = tl.load(lengths + row, mask=row < batch, other=0)
        parts = tl.maximum(tl.maximum(tl.cdiv(length, even), tl.cdiv(length, full)), 1)
        tl.store(counts + row, parts, mask=row < batch)


def fill_kv(buffers, table, lengths, batch, *, page_size, new, window_left=None) -> None:
    """As :func:`._metadata.fill_kv`; ``table`` has contiguous rows, and ``new`` is given."""
    window = -1 if window_left is None else window_left
    common = {"WINDOW": window, "PAGE": page_size}
    kv_lens_kernel[(1,)](lengths, new, buffers.kv_lens, buffers.kv_indptr, batch, **common, REQUESTS=_REQUESTS)
    kv_indices_kernel[batch, triton.cdiv(table.shape[1], _PAGES)](
        table, lengths, new, buffers.kv_indptr, buffers.kv_indices, table.stride(0), **common, PAGES=_PAGES
    )


def fill_equal_parts(out, lengths, batch, *, splits, block) -> None:
    """As :func:`._metadata.fill_equal_parts`."""
    equal_parts_kernel[(1,)](lengths, out, batch, splits, BLOCK=block, REQUESTS=_REQUESTS)


def fill_sglang_splits(out, lengths, batch, *, num_qo_heads, num_kv_heads, most, multiprocessors) -> None:
    """As :func:`._metadata.fill_sglang_splits`, for one query token a request."""
    group = num_qo_heads // num_kv_heads
    blocks = batch * (num_qo_heads if group == 1 else triton.cdiv(num_qo_heads, min(16, group)))
    sglang_parts_kernel[(1,)](lengths, out, batch, blocks, most, multiprocessors, REQUESTS=_REQUESTS)
