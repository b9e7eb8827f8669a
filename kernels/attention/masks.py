"""Masks of trees of drafts: which keys each draft of a request sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autotune_cli.kernels.attention.trees import Tree, path_to


def seen_keys(
    tree: Tree, prefix: int, window_left: int | None, device: str | torch.device, first: int = 0
) -> torch.Tensor:
    """[drafts, prefix + drafts - first] bool on the device: which keys each draft sees.

    Args:
        prefix: cached keys before the drafts.
        window_left: keys that a query sees beside its own, counted by position; None: all.
        first: keys to leave out at the beginning.
    """
    paths = [path_to(tree, draft) for draft in range(len(tree))]
    own = torch.tensor([len(path) - 1 for path in paths])
    family = torch.zeros(len(tree), len(tree), dtype=torch.bool)
    for draft, path in enumerate(paths):
        family[draft, path] = True
    seen = torch.cat([torch.ones(len(tree), prefix, dtype=torch.bool), family], 1)
    if window_left is not None:
        position = torch.cat([torch.arange(prefix), prefix + own])
        seen &= position[None] >= prefix + own[:, None] - window_left
    return seen[:, first:].to(device)


def flat_mask(
    trees: Sequence[Tree],
    prefix: Sequence[int],
    window_left: int | None,
    device: str | torch.device,
    first: Sequence[int] | None = None,
) -> torch.Tensor:
    """:func:`seen_keys` of all requests as FlashInfer's ``custom_mask`` has it: uint8, a draft's keys side by side.

    Args:
        first: keys of each request to leave out at the beginning; None: none.
    """
    starts = (0,) * len(trees) if first is None else first
    each = zip(trees, prefix, starts, strict=True)
    parts = [seen_keys(tree, cached, window_left, device, start) for tree, cached, start in each]
    return torch.cat([part.flatten() for part in parts]).to(torch.uint8)
