"""Writes the new tokens' keys and values into their pages, as a server does before or after attention."""

from __future__ import annotations

import torch

from autotune_cli.kernels.attention.problem import GARBAGE, GARBAGE_ELSE, AttentionProblem
from autotune_cli.sglang.padding import SCRATCH


class CacheWrite:
    """The new tokens of a problem, taken out of its pages once, and written back as often as it is called."""

    def __init__(self, problem: AttentionProblem, page_size: int, padding: int = 0) -> None:
        """Writes nothing yet.

        Args:
            padding: padded tokens, which write into the scratch slot.
        """
        pages = problem.paged(page_size)
        slots = [
            table.long()[token // page_size] * page_size + token % page_size
            for table, new, keys in zip(pages.tables, *problem.lengths, strict=True)
            for token in [torch.arange(keys - new, keys)]
        ]
        slots.append(torch.full((padding,), SCRATCH * page_size, dtype=torch.long))
        self._slots = torch.cat(slots).to(problem.device)
        self._caches = [_rows(cache) for cache in (pages.k, pages.v)]
        self._values = [cache.index_select(0, self._slots) for cache in self._caches]
        # What the problem's unused slots hold: finite and huge.
        value = GARBAGE.get(problem.cache_dtype, GARBAGE_ELSE)
        self._garbage = _bits(torch.tensor([value], dtype=problem.cache_dtype)).item()

    def __call__(self) -> None:
        for cache, values in zip(self._caches, self._values, strict=True):
            cache.index_copy_(0, self._slots, values)

    def forget(self) -> None:
        """The cache as it is before the new tokens come: what is there then must not be read."""
        for cache in self._caches:
            cache.index_fill_(0, self._slots, self._garbage)


def _rows(cache: torch.Tensor) -> torch.Tensor:
    """[slots, KV heads, head dim]"""
    return _bits(cache.view(-1, *cache.shape[2:]))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 as bytes, which torch can index."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.float8_e4m3fn else tensor
