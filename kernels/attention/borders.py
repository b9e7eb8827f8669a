"""Keys at the border of a window, made to weigh much: what sees one key too many or too few is then far off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.paging import spans
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.geometry import Geometry

if TYPE_CHECKING:
    import torch

# A logit that is meant to weigh much is kept below this share of the cap.
_MOST_OF_CAP = 0.9


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

    Of thousands of keys a usual one weighs so little that a window which is one too wide or too narrow would pass. The
    query is a request's first new token, or its last one where no key lies before the first one's window. The last key
    before the window is made for the first query head of each KV head, the window's first for the last.

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
    # The log-sum-exp of a usual row: the mean of normal logits' exponentials is exp(spread^2 / 2).
    level = math.log(window + 1) + spread**2 / 2
    if g.softcap is not None:
        level = g.softcap * math.atanh(min(level / g.softcap, _MOST_OF_CAP))
    for (row, stop), (start, end) in zip(spans(lengths.qo), spans(lengths.kv), strict=True):
        own = end - start - (stop - row)
        if own <= window and in_order:
            row, own = stop - 1, end - start - 1
        if own <= window:
            continue
        first = start + own - window
        queries = q[row].float().view(g.num_kv_heads, g.group, g.head_dim)
        for key, query in ((first - 1, queries[:, 0]), (first, queries[:, -1])):
            made = query * (level / (g.scale * k_scale)) / query.square().sum(-1, keepdim=True)
            keys[key] = made.to(keys.dtype)
