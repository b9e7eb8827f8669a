# Triton's decorator and language have no types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
"""The Triton kernels of ``triton_decode`` and ``triton_extend``; needs Triton, so their ``prepare`` imports it.

Logits are in base 2 from the first product on: exp2 is one instruction, exp is two. Rows of a tile are query heads that
share a KV head (decode), or pairs of a token and such a head (extend): keys and values are loaded once for all of them.
Caches are [pages, page size, KV heads, head dim]; ``slot_stride`` is the elements from one token to the next.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _slots(pages, first, key, stop, PAGE: tl.constexpr, BLOCK: tl.constexpr):
    """[BLOCK] int64: slots of the keys from ``first`` on, a multiple of BLOCK; any for those from ``stop`` on."""
    if PAGE % BLOCK == 0:
        # A whole block lies in one page: one load, and rows that follow each other.
        slot = tl.load(pages + first // PAGE).to(tl.int64) * PAGE + first % PAGE + tl.arange(0, BLOCK)
    else:
        slot = tl.load(pages + key // PAGE, mask=key < stop, other=0).to(tl.int64) * PAGE + key % PAGE
    return slot


@triton.jit
def _step(
    top, total, mixed, q, k, v, pages, first, stop, low, high, slot_stride, scale, tree, prefix,
    DIM: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, CAP: tl.constexpr, MASKED: tl.constexpr,
    TREE: tl.constexpr,
):  # fmt: skip
    """One block of keys into the online softmax of each row.

    ``top`` [ROWS]: the largest logit so far; ``total`` [ROWS]: the sum of the weights; ``mixed`` [ROWS, DIM]: the
    weighted sum of the values; ``q`` [ROWS, DIM]. A row sees the keys ``low <= key < high`` ([ROWS] each). Without
    MASKED all rows see all keys of the block. ``scale`` is in base 2; with a CAP, which is too, it is the scale over
    the cap. With TREE, ``tree`` [ROWS] points to what each row sees of the drafts, whose keys begin at ``prefix``.
    """
    key = first + tl.arange(0, BLOCK)
    at = _slots(pages, first, key, stop, PAGE, BLOCK)[:, None] * slot_stride + tl.arange(0, DIM)[None, :]
    if MASKED:
        # What lies behind the last key may be NaN, which a weight of 0 doesn't hide.
        keys = tl.load(k + at, mask=(key < stop)[:, None], other=0.0).to(q.dtype)
        values = tl.load(v + at, mask=(key < stop)[:, None], other=0.0).to(q.dtype)
    else:
        keys = tl.load(k + at).to(q.dtype)
        values = tl.load(v + at).to(q.dtype)
    logits = tl.dot(q, tl.trans(keys)) * scale
    if CAP > 0.0:
        # tanh(x) = 2 / (1 + exp(-2x)) - 1, which stays finite where exp overflows.
        logits = CAP * (2.0 / (1.0 + tl.exp2(logits * (-2.0 * LOG2E))) - 1.0)
    if MASKED:
        seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
        if TREE:
            is_draft = ((key >= prefix) & (key < stop))[None, :] & (high > 0)[:, None]
            seen &= tl.load(tree[:, None] + (key - prefix)[None, :], mask=is_draft, other=1) != 0
        logits = tl.where(seen, logits, float("-inf"))
    new_top = tl.maximum(top, tl.max(logits, 1))
    # A row that has seen no key yet: -inf - -inf is NaN.
    base = tl.where(new_top == float("-inf"), 0.0, new_top) if MASKED else new_top
    weights = tl.exp2(logits - base[:, None])
    shrink = tl.exp2(top - base)
    total = total * shrink + tl.sum(weights, 1)
    mixed = tl.dot(weights.to(q.dtype), values, mixed * shrink[:, None])
    return new_top, total, mixed


@triton.jit
def _with_sink(top, total, mixed, sink):
    """A key more, whose value is 0 and whose logit, in base 2, is ``sink``."""
    new_top = tl.maximum(top, sink)
    shrink = tl.exp2(top - new_top)
    return total * shrink + tl.exp2(sink - new_top), mixed * shrink[:, None]


# Compiled once for all numbers of parts.
@triton.jit(do_not_specialize=["most"])
def paged_decode_kernel(
    q, k, v, sinks, out, part_out, part_lse, kv_indptr, kv_indices, kv_lens, num_splits, slot_stride, scale, out_scale,
    most,
    HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr,
    BLOCK: tl.constexpr, SPLIT: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """One query token a request; a program takes a tile of heads that share a KV head, and one part of the keys.

    Grid: (KV heads x tiles of a group, requests, ``most``). Without SPLIT, ``most`` is 1, and it writes ``out``
    [requests, HEADS, DIM]; else ``part_out`` [requests, HEADS, most, DIM] and the base-2 ``part_lse`` [requests, HEADS,
    most], both float32, for :func:`decode_split_merge_kernel`. A request has ``num_splits`` parts, at most ``most``;
    further programs return.

    (The last program of a tile to finish could merge its parts, which saves a launch. On an H100 it was slower in all
    but large batches of 2 to 4 parts: 13.1 us instead of 7.2 for 8 x 1024, 8/1 heads.)
    """
    tiles: tl.constexpr = (GROUP + ROWS - 1) // ROWS
    kv_head, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    request, split = tl.program_id(1), tl.program_id(2)
    # Asked for together: each of them takes as long as the next step does.
    parts = tl.load(num_splits + request)
    length = tl.load(kv_lens + request)
    pages = kv_indices + tl.load(kv_indptr + request)
    if split >= parts:
        return
    low = tl.maximum(length - 1 - WINDOW, 0) if WINDOW >= 0 else 0
    # Parts begin at multiples of BLOCK, so that a block lies in one page where pages are as long.
    begin = low // BLOCK * BLOCK
    part = tl.cdiv(tl.cdiv(length - begin, parts), BLOCK) * BLOCK
    start = begin + split * part
    stop = tl.minimum(start + part, length)

    row, dim = tile * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    mine, head = row < GROUP, kv_head * GROUP + row
    at = (request * HEADS + head)[:, None] * DIM + dim[None, :]
    queries = tl.load(q + at, mask=mine[:, None], other=0.0)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, DIM], tl.float32)
    lows, highs = tl.zeros([ROWS], tl.int32) + low, tl.zeros([ROWS], tl.int32) + stop
    for first in range(start, stop, BLOCK):
        top, total, mixed = _step(
            top, total, mixed, queries, k + kv_head * DIM, v + kv_head * DIM, pages, first, stop, lows, highs,
            slot_stride, scale, 0, 0, DIM, PAGE, BLOCK, CAP, True, False,
        )  # fmt: skip

    if not SPLIT:
        if SINKS:
            sink = tl.load(sinks + head, mask=mine, other=0.0) * LOG2E
            total, mixed = _with_sink(top, total, mixed, sink)
        mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None] * out_scale
        tl.store(out + at, mixed.to(out.dtype.element_ty), mask=mine[:, None])
    else:
        # A part may be empty, as parts are whole blocks: its log-sum-exp is -inf, and the merge gives it no weight.
        entry = (request * HEADS + head) * most + split
        mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
        tl.store(part_out + entry.to(tl.int64)[:, None] * DIM + dim[None, :], mixed, mask=mine[:, None])
        tl.store(part_lse + entry, top + tl.log2(total), mask=mine)


@triton.jit(do_not_specialize=["most"])
def decode_split_merge_kernel(
    part_out, part_lse, sinks, out, num_splits, out_scale, most,
    HEADS: tl.constexpr, DIM: tl.constexpr, CHUNK: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """The parts of a request, weighted by their log-sum-exp, CHUNK of them at once; the sink counts once, here.

    Grid: (HEADS, requests).
    """
    head, request = tl.program_id(0), tl.program_id(1)
    parts = tl.load(num_splits + request)
    entry, dim = (request * HEADS + head) * most, tl.arange(0, DIM)
    top = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    mixed = tl.zeros([1, DIM], tl.float32)
    for first in range(0, parts, CHUNK):
        part = first + tl.arange(0, CHUNK)
        lse = tl.load(part_lse + entry + part, mask=part < parts, other=float("-inf"))
        # The first part of a request has a key, so the first chunk's largest is finite.
        new_top = tl.maximum(top, tl.max(lse, 0))
        weights, shrink = tl.exp2(lse - new_top), tl.exp2(top - new_top)
        at = (entry + part).to(tl.int64)[:, None] * DIM + dim[None, :]
        values = tl.load(part_out + at, mask=(part < parts)[:, None], other=0.0)
        total = total * shrink + tl.sum(weights, 0)
        mixed = mixed * shrink[:, None] + tl.sum(weights[:, None] * values, 0)[None, :]
        top = new_top
    if SINKS:
        total, mixed = _with_sink(top, total, mixed, tl.load(sinks + head) * LOG2E)
    result = mixed / total[:, None] * out_scale
    tl.store(out + (request * HEADS + head) * DIM + dim[None, :], result.to(out.dtype.element_ty))


@triton.jit
def paged_attention_extend_kernel(
    q, k, v, sinks, out, qo_indptr, kv_indptr, kv_indices, kv_lens, tree, tree_indptr, depths, slot_stride, scale,
    out_scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr,
    BLOCK: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr, SINKS: tl.constexpr, TREE: tl.constexpr,
):  # fmt: skip
    """New tokens over all their keys in pages, causal and aligned to the end; ``out`` is [tokens, HEADS, DIM].

    With TREE the new tokens are drafts: of these, each sees what ``tree`` says, uint8 [new, new] of each request, one
    after the other from ``tree_indptr`` [requests] on, and stands ``depths`` [tokens] behind the first.

    Grid: (KV heads, requests, tiles of ROWS (token, head) pairs of the longest request).
    """
    kv_head, request = tl.program_id(0), tl.program_id(1)
    # The last tokens have the most keys: their tiles are begun first, so that none of them is left for the end.
    tile = tl.num_programs(2) - 1 - tl.program_id(2)
    first_query = tl.load(qo_indptr + request)
    new = tl.load(qo_indptr + request + 1) - first_query
    if tile * ROWS >= new * GROUP:
        return
    length = tl.load(kv_lens + request)

    row, dim = tile * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    token, head = row // GROUP, kv_head * GROUP + row % GROUP
    mine = token < new
    at = ((first_query + token).to(tl.int64) * HEADS + head)[:, None] * DIM + dim[None, :]
    queries = tl.load(q + at, mask=mine[:, None], other=0.0)

    # Keys before the new tokens, and the tile's earliest and latest token.
    prefix = length - new
    earliest = prefix + tile * ROWS // GROUP
    latest = prefix + tl.minimum((tile * ROWS + ROWS - 1) // GROUP, new - 1)
    position = token
    drafts = 0
    if TREE:
        # Where a draft stands doesn't follow from its place among the others, so a tile takes all of them.
        earliest, latest = prefix - 1, prefix + new - 1
        position = tl.load(depths + first_query + token, mask=mine, other=0)
        drafts = tree + tl.load(tree_indptr + request) + token * new
    # Rows behind the last token see nothing, as they have no row of ``tree``.
    highs = tl.where(mine, prefix + token + 1, 0) if TREE else prefix + token + 1
    lows = tl.maximum(prefix + position - WINDOW, 0) if WINDOW >= 0 else tl.zeros([ROWS], tl.int32)
    stop = latest + 1
    # All rows see the blocks between ``whole`` and ``diagonal``; the window cuts those before, causality those after.
    begin = tl.maximum(earliest - WINDOW, 0) // BLOCK * BLOCK if WINDOW >= 0 else 0
    diagonal = (earliest + 1) // BLOCK * BLOCK
    whole = tl.minimum(tl.cdiv(tl.maximum(latest - WINDOW, 0), BLOCK) * BLOCK, diagonal) if WINDOW >= 0 else 0

    pages = kv_indices + tl.load(kv_indptr + request)
    k += kv_head * DIM
    v += kv_head * DIM
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, DIM], tl.float32)
    if WINDOW >= 0:
        for first in range(begin, whole, BLOCK):
            top, total, mixed = _step(
                top, total, mixed, queries, k, v, pages, first, stop, lows, highs, slot_stride, scale,
                drafts, prefix, DIM, PAGE, BLOCK, CAP, True, TREE,
            )  # fmt: skip
    for first in range(whole, diagonal, BLOCK):
        # Rows that see none of the keys before have -inf as their largest logit; here every row sees a key.
        top, total, mixed = _step(
            top, total, mixed, queries, k, v, pages, first, stop, lows, highs, slot_stride, scale,
            drafts, prefix, DIM, PAGE, BLOCK, CAP, False, False,
        )  # fmt: skip
    for first in range(diagonal, stop, BLOCK):
        top, total, mixed = _step(
            top, total, mixed, queries, k, v, pages, first, stop, lows, highs, slot_stride, scale,
            drafts, prefix, DIM, PAGE, BLOCK, CAP, True, TREE,
        )  # fmt: skip

    if SINKS:
        sink = tl.load(sinks + head, mask=mine, other=0.0) * LOG2E
        total, mixed = _with_sink(top, total, mixed, sink)
    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None] * out_scale
    tl.store(out + at, mixed.to(out.dtype.element_ty), mask=mine[:, None])
