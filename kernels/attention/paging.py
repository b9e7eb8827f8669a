"""A KV cache in pages: which pages hold which tokens, and their tensors as serving engines hand them to kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class PagedKV:
    """A KV cache in pages, as a serving engine hands it to kernels (FlashInfer's NHD layout).

    Page 0 is no request's and holds garbage; the requests' pages are scattered at random.
    """

    page_size: int
    k: torch.Tensor
    """[pages, page_size, kv heads, head dim], in the cache's dtype."""
    v: torch.Tensor
    tables: tuple[torch.Tensor, ...]
    """Page ids of each request, int32 on the CPU; empty where the request has no token."""
    lengths: tuple[int, ...]
    """Tokens of each request in these pages."""

    @cached_property
    def indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU: where each request's pages begin in ``indices``."""
        return indptr([len(table) for table in self.tables])

    @cached_property
    def indices(self) -> torch.Tensor:
        """[total pages] int32 on the device."""
        return torch.cat(self.tables).to(self.k.device)

    @cached_property
    def last_page_len(self) -> torch.Tensor:
        """[batch] int32 on the CPU: tokens in the last page; 0 for a request without a page."""
        pairs = zip(self.tables, self.lengths, strict=True)
        return torch.tensor([n - (len(t) - 1) * self.page_size if n else 0 for t, n in pairs], dtype=torch.int32)

    @cached_property
    def block_tables(self) -> torch.Tensor:
        """[batch, most pages] int32 on the device; filled up with page 0, the garbage."""
        padded = torch.nn.utils.rnn.pad_sequence(list(self.tables), batch_first=True, padding_value=0)
        return padded.to(self.k.device)

    @cached_property
    def seq_lens(self) -> torch.Tensor:
        """[batch] int32 on the device."""
        return torch.tensor(self.lengths, dtype=torch.int32, device=self.k.device)

    def up_to(self, counts: Sequence[int]) -> PagedKV:
        """Only the first ``counts[i]`` tokens of request ``i``."""
        pages = [-(-count // self.page_size) for count in counts]
        tables = tuple(table[:number] for table, number in zip(self.tables, pages, strict=True))
        return PagedKV(self.page_size, self.k, self.v, tables, tuple(counts))

    def slots(self) -> list[torch.Tensor]:
        """Of each request, where its tokens lie in the cache seen as one row of keys: int64 on the CPU."""
        pairs = zip(self.tables, self.lengths, strict=True)
        return [_slots(table, tokens, self.page_size) for table, tokens in pairs]

    def seen_from(self, first: Sequence[int]) -> PagedKV:
        """Without the whole pages before token ``first[i]`` of request ``i``: what a sliding window leaves."""
        drop = [token // self.page_size for token in first]
        tables = tuple(table[pages:] for table, pages in zip(self.tables, drop, strict=True))
        lengths = tuple(n - pages * self.page_size for n, pages in zip(self.lengths, drop, strict=True))
        return PagedKV(self.page_size, self.k, self.v, tables, lengths)


@dataclass(frozen=True)
class PageLayout:
    """Which pages hold which tokens; page 0 is no request's."""

    pages: int
    tables: tuple[torch.Tensor, ...]
    """Page ids of each request, int32 on the CPU."""
    rows: torch.Tensor
    """[tokens] int64 on the device: the row of each token in a cache seen as [pages * page_size, ...]."""

    @classmethod
    def draw(cls, page_size: int, tokens: Sequence[int], seed: int, device: str) -> PageLayout:
        counts = [-(-n // page_size) for n in tokens]
        shuffle = torch.Generator().manual_seed(seed + page_size)
        order = 1 + torch.randperm(sum(counts), generator=shuffle, dtype=torch.int32)
        tables: tuple[torch.Tensor, ...] = torch.split(order, counts)  # type: ignore[no-untyped-call]
        # On the device: half a million tokens take a CPU 10 ms.
        lengths, total = torch.tensor(tokens, device=device), sum(tokens)
        ends, first_page = lengths.cumsum(0), indptr(counts)[:-1].to(device).long()
        request = torch.repeat_interleave(lengths, output_size=total)
        token = torch.arange(total, device=device) - (ends - lengths)[request]
        page = order.to(device).long()[first_page[request] + token // page_size]
        return cls(sum(counts), tables, page * page_size + token % page_size)


def spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of each request in a ragged tensor."""
    return itertools.pairwise(itertools.accumulate(lengths, initial=0))


def rows_of(lengths: Sequence[int], requests: Sequence[int]) -> list[int]:
    """Rows of these requests in a ragged tensor, in their order."""
    every = list(spans(lengths))
    return [row for request in requests for row in range(*every[request])]


def indptr(lengths: Sequence[int]) -> torch.Tensor:
    """[len + 1] int32 on the CPU, where FlashInfer's plan wants it: on the GPU it costs a blocking copy."""
    return torch.tensor(list(itertools.accumulate(lengths, initial=0)), dtype=torch.int32)


def _slots(table: torch.Tensor, tokens: int, page_size: int) -> torch.Tensor:
    """[tokens] int64: the row of each token in a cache seen as [pages * page_size, ...]."""
    token = torch.arange(tokens)
    return table.long()[token // page_size] * page_size + token % page_size
