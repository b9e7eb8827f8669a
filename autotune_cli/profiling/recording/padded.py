"""A batch padded for a piecewise graph by a fake request; see :mod:`autotune_cli.sglang.padding`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from autotune_cli.kernels.attention.backends._flashinfer import in_window
from autotune_cli.kernels.attention.paging import PagedKV
from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.profiling.recording.batches import Batch
from autotune_cli.sglang.padding import SCRATCH, Buffers, PagedMetadata, write_fake_request


@dataclass(frozen=True)
class _BufferedPages(PagedKV):
    """Pages whose indices are read from buffers that are kept. Those before a window were taken out already."""

    buffers: Buffers

    @cached_property
    def indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU."""
        part: torch.Tensor = self.buffers.kv_indptr[: len(self.tables) + 1]
        return part

    @cached_property
    def indices(self) -> torch.Tensor:
        """[total pages] int32 on the device."""
        part: torch.Tensor = self.buffers.kv_indices[: sum(len(table) for table in self.tables)]
        return part

    @cached_property
    def last_page_len(self) -> torch.Tensor:
        """[batch] int32 on the CPU."""
        part: torch.Tensor = self.buffers.last_page_len[: len(self.tables)]
        return part

    def seen_from(self, first: Sequence[int]) -> PagedKV:
        return self


class Padded:
    """A batch padded to a static number of tokens by a fake request, its metadata in buffers that are kept.

    ``write`` fills the buffers as a server does for each batch: numbers that the host knows, and fills on the device.
    ``batch`` is what candidates are prepared on.
    """

    def __init__(self, problem: AttentionProblem, static: torch.Tensor, page_size: int, pool: int) -> None:
        """Room for ``pool`` requests and the fake one.

        Args:
            static: [static tokens, query heads, head dim], which holds the queries.
        """
        self._real = in_window(problem, problem.paged(page_size))
        self._qo = problem.qo_indptr
        self._page_size = page_size
        self._tokens = static.shape[0]
        self._count, self._used = len(problem.lengths.qo), len(self._real.indices)
        padding = self._tokens - problem.q.shape[0]
        extra = -(-padding // page_size)
        # The indices live where the kernel reads them, all else on the CPU, where FlashInfer's plan wants it.
        self._buffers = Buffers(
            torch.full((pool + 2,), -1, dtype=torch.int32),
            torch.full((pool + 2,), -1, dtype=torch.int32),
            torch.full((self._used + self._tokens,), -1, dtype=torch.int32, device=problem.device),
            torch.full((pool + 1,), -1, dtype=torch.int32),
        )
        self.requests, self.pages = self._count + (padding > 0), self._used + extra
        self.write()
        tables, keys, lengths = self._real.tables, self._real.lengths, problem.lengths
        if padding:
            tables = (*tables, torch.full((extra,), SCRATCH, dtype=torch.int32))
            keys = (*keys, padding)
            lengths = Lengths((*lengths.qo, padding), (*lengths.kv, padding))
        pages = _BufferedPages(page_size, self._real.k, self._real.v, tables, keys, self._buffers)
        self.batch = Batch(problem, lengths, static, pages, self._buffers.qo_indptr[: self.requests + 1])

    def write(self) -> None:
        """The metadata of the batch into the buffers, the fake request's after it; nothing waits for the device."""
        buffers, count = self._buffers, self._count
        buffers.qo_indptr[: count + 1] = self._qo
        buffers.kv_indptr[: count + 1] = self._real.indptr
        buffers.kv_indices[: self._used] = self._real.indices
        buffers.last_page_len[:count] = self._real.last_page_len
        real_tokens = int(self._qo[-1])
        write_fake_request(buffers, count, self._used, real_tokens, self._tokens, self._page_size)

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
