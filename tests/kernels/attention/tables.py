"""Reading a paged cache through a table, for the emulators."""

from __future__ import annotations

import torch


def gathered(pool: torch.Tensor, pages: torch.Tensor) -> torch.Tensor:
    """float32 [tokens, ...] of these pages, one after another, from a pool [pages, page size, ...].

    They are looked up as bytes, and widened then: torch has no index of FP8, and the pool may be many times larger.
    """
    return pool.view(torch.uint8)[pages].view(pool.dtype).float().flatten(0, 1)
