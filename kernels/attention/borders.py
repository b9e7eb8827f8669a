"""Keys at borders, made to weigh much: what sees one key too many or too few is then far off.

Of thousands of keys a usual one weighs so little that an output without it would pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from autotune_cli.kernels.attention.paging import spans
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.geometry import Geometry

# A logit that is meant to weigh much is kept below this share of the cap.
_MOST_OF_CAP = 0.9
# Kernels take keys in blocks of multiples of it, or pages, and share them out in such parts.
_BLOCK = 64
# Requests with fewer keys have no key that weighs nothing.
_LONG = 1000


def mark_window(
    geometry: Geometry,
    lengths: Lengths,
    q: torch.Tensor,
    keys: torch.Tensor,
    k_scale: float,
    spread: float,
    *,
    in_order: bool,
) -> None:
    """Make the keys at either side of a window's beginning weigh as much as all others in it, for a query each.

    The query is a request's first new token, or its last one where no key lies before the first one's window. The last
    key before the window is made for the first query head of each KV head, the window's first for the last.

    Args:
        q: [queries, query heads, head dim].
        keys: [keys, KV heads, head dim] as cached, changed.
        k_scale: what a cached key is multiplied by.
        spread: of usual logits, before the cap.
        in_order: each new token comes after the one before, as none does in a tree.
    """
    g, window = geometry, geometry.window_left
    if window is None:
        return
    level = usual_logit(window + 1, spread, cap=g.softcap)
    for (row, stop), (start, end) in zip(spans(lengths.qo), spans(lengths.kv), strict=True):
        own = end - start - (stop - row)
        if own <= window and in_order:
            row, own = stop - 1, end - start - 1
        if own <= window:
            continue
        first = start + own - window
        queries = q[row].float().view(g.num_kv_heads, g.group, g.head_dim)
        keys[first - 1] = key_for(queries[:, 0], level, g.scale * k_scale).to(keys.dtype)
        keys[first] = key_for(queries[:, -1], level, g.scale * k_scale).to(keys.dtype)


def mark_blocks(
    geometry: Geometry, lengths: Lengths, q: torch.Tensor, keys: torch.Tensor, k_scale: float, spread: float
) -> None:
    """Make the keys at either side of each block's beginning, and the first and the last key, weigh together as much as
    all others of a long request, for its first new token.

    They are made for the first query head of each KV head. Arguments as of :func:`mark_window`; of a layer without a
    window.
    """
    g = geometry
    for row, start, marked, count in long_requests(lengths):
        level = usual_logit(count, spread, len(marked), g.softcap)
        queries = q[row].float().view(g.num_kv_heads, g.group, g.head_dim)
        made = key_for(queries[:, 0], level, g.scale * k_scale).to(keys.dtype)
        places = start + torch.tensor(marked, device=keys.device)
        # torch indexes FP8 tensors only in part.
        bits = torch.uint8 if keys.element_size() == 1 else keys.dtype
        keys.view(bits)[places] = made.view(bits)


def long_requests(lengths: Lengths) -> Iterator[tuple[int, int, list[int], int]]:
    """Of each long request its first new token's row, where its keys begin, which of them lie at borders of blocks, and
    how many it has. Where a mask is causal the first new token sees no key behind its own.
    """
    for (row, stop), (start, end) in zip(spans(lengths.qo), spans(lengths.kv), strict=True):
        if end - start >= _LONG:
            last = end - start - (stop - row)
            starts = range(_BLOCK, last + 1, _BLOCK)
            yield row, start, sorted({0, last, *starts, *(at - 1 for at in starts)}), end - start


def usual_logit(count: int, spread: float, shared_by: int = 1, cap: float | None = None) -> float:
    """The logit, before the cap, with which as many keys weigh as much together as ``count`` usual ones.

    The mean of normal logits' exponentials is exp(spread^2 / 2).
    """
    level = math.log(count) + spread**2 / 2 - math.log(shared_by)
    return level if cap is None else cap * math.atanh(min(level / cap, _MOST_OF_CAP))


def key_for(query: torch.Tensor, level: float, scale: float) -> torch.Tensor:
    """The cached key that has this logit with a query, before the cap; [..., width] both."""
    return query * (level / scale) / query.square().sum(-1, keepdim=True)
