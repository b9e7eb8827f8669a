"""Other views of an attention problem: planned for graphs, padded for a piecewise graph, a part of the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from autotune_cli.kernels.attention.backends._flashinfer import in_window
from autotune_cli.kernels.attention.problem import AttentionProblem, PagedKV, indptr
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.profiling.padding import SCRATCH, Buffers, PagedMetadata, write_fake_request

# What depends on the batch and must be made anew for another one. Keys and values of all its requests, one after the
# other, are not at hand then: who asks for ragged keys or other pages is refused, not given those of other requests.
_OF_THE_BATCH = ("qo_indptr", "k", "v", "reference", "_keys", "_values")


class View(AttentionProblem):
    """The same tensors seen as another batch. Made by the functions below, never by its constructor."""

    _pages: dict[int, PagedKV]

    @classmethod
    def of(cls, problem: AttentionProblem, **changed: Any) -> View:
        view = copy.copy(problem)
        view.__class__ = cls
        for name in _OF_THE_BATCH if "lengths" in changed else ():
            view.__dict__.pop(name, None)
        view.__dict__.update(changed)
        assert isinstance(view, View)
        return view


def for_graphs(problem: Any) -> Any:
    """The problem as one whose candidates will be captured."""
    return problem.for_graphs()


def part(problem: AttentionProblem, requests: Sequence[int], page_size: int) -> tuple[View, torch.Tensor]:
    """Some of the requests as a batch of their own, over the same pages; and their rows in the whole batch's output.

    Only for paged candidates.
    """
    whole, lengths = problem.paged(page_size), problem.lengths
    starts = indptr(lengths.qo).tolist()
    rows = torch.cat([torch.arange(starts[number], starts[number + 1]) for number in requests])
    pages = PagedKV(
        page_size,
        whole.k,
        whole.v,
        tuple(whole.tables[number] for number in requests),
        tuple(whole.lengths[number] for number in requests),
    )
    chosen = Lengths(tuple(lengths.qo[n] for n in requests), tuple(lengths.kv[n] for n in requests))
    rows = rows.to(problem.device)
    return View.of(problem, lengths=chosen, q=problem.q[rows], _pages={page_size: pages}), rows


def narrowed(problem: AttentionProblem, static: torch.Tensor) -> View:
    """The batch as it is, its queries the first rows of a static tensor."""
    return View.of(problem, q=static[: problem.q.shape[0]])


class _Seen(PagedKV):
    """Pages from which those before a window were taken already."""

    def seen_from(self, first: Sequence[int]) -> PagedKV:
        return self


class Padded:
    """A batch padded to a static number of tokens by a fake request, its metadata in buffers that are kept.

    ``write`` fills the buffers as a server does for each batch: numbers that the host knows, and fills on the device.
    """

    def __init__(self, problem: AttentionProblem, static: torch.Tensor, page_size: int, pool: int) -> None:
        self._real = in_window(problem, problem.paged(page_size))
        self._qo = problem.qo_indptr
        self._page_size = page_size
        self._tokens = static.shape[0]
        batch, used = len(problem.lengths.qo), len(self._real.indices)
        padding = self._tokens - problem.q.shape[0]
        extra = -(-padding // page_size)
        # Like numpy's Buffers.make, but the indices live where the kernel reads them.
        self._buffers = Buffers(
            torch.full((pool + 2,), -1, dtype=torch.int32),
            torch.full((pool + 2,), -1, dtype=torch.int32),
            torch.full((used + self._tokens,), -1, dtype=torch.int32, device=problem.device),
            torch.full((pool + 1,), -1, dtype=torch.int32),
        )
        self._batch, self._used = batch, used
        self.requests, self.pages = batch + (padding > 0), used + extra
        self.write()
        tables, keys, lengths = self._real.tables, self._real.lengths, problem.lengths
        if padding:
            tables = (*tables, torch.full((extra,), SCRATCH, dtype=torch.int32))
            keys = (*keys, padding)
            lengths = Lengths((*lengths.qo, padding), (*lengths.kv, padding))
        pages = _Seen(page_size, self._real.k, self._real.v, tables, keys)
        # A candidate plans from these: the buffers themselves instead of tensors made from the tables.
        buffers = self._buffers
        pages.__dict__["indptr"] = buffers.kv_indptr[: self.requests + 1]
        pages.__dict__["indices"] = buffers.kv_indices[: self.pages]
        pages.__dict__["last_page_len"] = buffers.last_page_len[: self.requests]
        self.view = View.of(problem, lengths=lengths, q=static, _pages={page_size: pages})
        self.view.__dict__["qo_indptr"] = buffers.qo_indptr[: self.requests + 1]

    def write(self) -> None:
        """The metadata of the batch into the buffers, the fake request's after it; nothing waits for the device."""
        buffers, batch = self._buffers, self._batch
        buffers.qo_indptr[: batch + 1] = self._qo  # type: ignore[assignment]
        buffers.kv_indptr[: batch + 1] = self._real.indptr  # type: ignore[assignment]
        buffers.kv_indices[: self._used] = self._real.indices  # type: ignore[assignment]
        buffers.last_page_len[:batch] = self._real.last_page_len  # type: ignore[assignment]
        real_tokens = int(self._qo[-1])
        write_fake_request(buffers, batch, self._used, real_tokens, self._tokens, self._page_size)

    def metadata(self) -> tuple[PagedMetadata, PagedMetadata]:
        """The unpadded plan's, and what stands in the buffers."""
        real, qo = self._real, self._qo
        plain = PagedMetadata(
            qo.numpy(), real.indptr.numpy(), real.indices.cpu().numpy(), real.last_page_len.numpy(), self._page_size
        )
        buffers, requests = self._buffers, self.requests
        padded = PagedMetadata(
            buffers.qo_indptr[: requests + 1].numpy(),
            buffers.kv_indptr[: requests + 1].numpy(),
            buffers.kv_indices[: self.pages].cpu().numpy(),
            buffers.last_page_len[:requests].numpy(),
            self._page_size,
        )
        return plain, padded


class CacheWrite:
    """Writes the new tokens' keys and values into their pages, as a server does before or after attention."""

    def __init__(self, problem: AttentionProblem, page_size: int, padding: int = 0) -> None:
        pages = problem.paged(page_size)
        slots = [
            table.long()[token // page_size] * page_size + token % page_size
            for table, new, keys in zip(pages.tables, *problem.lengths, strict=True)
            for token in [torch.arange(keys - new, keys)]
        ]
        # Padded tokens write into the scratch slot.
        slots.append(torch.full((padding,), SCRATCH * page_size, dtype=torch.long))
        self._slots = torch.cat(slots).to(problem.device)
        self._caches = [_rows(cache) for cache in (pages.k, pages.v)]
        self._values = [cache.index_select(0, self._slots) for cache in self._caches]

    def __call__(self) -> None:
        for cache, values in zip(self._caches, self._values, strict=True):
            cache.index_copy_(0, self._slots, values)

    def forget(self) -> None:
        """The cache as it is before the new tokens come: what is there then must not be read."""
        for cache in self._caches:
            cache.index_fill_(0, self._slots, _GARBAGE.get(cache.dtype, _GARBAGE_ELSE))


# Finite and huge, as in the problem's unused slots; 0x7e is 448 in float8_e4m3fn.
_GARBAGE: dict[torch.dtype, float] = {torch.uint8: 0x7E}
_GARBAGE_ELSE = 3.0e4


def _rows(cache: torch.Tensor) -> torch.Tensor:
    """[slots, KV heads, head dim]; FP8 as bytes, which torch can index."""
    flat = cache.view(-1, *cache.shape[2:])
    return flat.view(torch.uint8) if flat.dtype == torch.float8_e4m3fn else flat
