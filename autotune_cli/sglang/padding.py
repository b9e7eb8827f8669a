"""Paged attention's metadata under a piecewise CUDA graph, where a batch is padded to a captured number of tokens.

Two ways, both SGLang's: an extra request takes the padding (``fake-request``, 0.5.10), or the operation narrows to the
real tokens (``narrow``, from 0.5.11 on). Growing the last real request instead would move its causal diagonal. Facts:
reference/sglang.md, section 2. All index arrays are int32.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

PadMode = Literal["fake-request", "narrow"]
PAD_MODES: tuple[PadMode, ...] = get_args(PadMode)
Int32 = npt.NDArray[np.int32]

# The slot (with pages: the page) that no request owns; padded tokens write their keys there.
SCRATCH = 0


class Buffer(Protocol):
    """A row of int32 that takes a number, or a row of its own kind, for a slice: a torch tensor on any device."""

    def __setitem__(self, part: slice, value: Any, /) -> None: ...
    def __getitem__(self, part: slice, /) -> Any: ...


@dataclass(frozen=True)
class PagedMetadata:
    """What a paged plan takes, for ``batch`` requests."""

    qo_indptr: Int32
    """[batch + 1] first new token of each request."""
    kv_indptr: Int32
    """[batch + 1] first page of each request in ``kv_indices``."""
    kv_indices: Int32
    """[pages] pages in the order of their keys."""
    last_page_len: Int32
    """[batch] keys on the last page, 1 to ``page_size``; 0 for a request without keys."""
    page_size: int = 1

    @property
    def batch(self) -> int:
        return len(self.last_page_len)

    @property
    def tokens(self) -> int:
        """New tokens of all requests."""
        return int(self.qo_indptr[-1])

    def kv_lens(self) -> list[int]:
        """Keys of each request."""
        pages = np.diff(self.kv_indptr)
        lens = (pages - 1) * self.page_size + self.last_page_len
        return [int(length) if count else 0 for length, count in zip(lens, pages, strict=True)]


@dataclass(frozen=True)
class Buffers:
    """Room for the largest padded batch, made once: planning allocates nothing and waits for nothing."""

    qo_indptr: Buffer
    """[pool + 2]: every request of the pool, and the fake one."""
    kv_indptr: Buffer
    """[pool + 2]."""
    kv_indices: Buffer
    last_page_len: Buffer
    """[pool + 1]: SGLang 0.5.10 had one entry too few here for a batch as large as the pool."""


def write_fake_request(
    buffers: Buffers, batch: int, used_pages: int, real_tokens: int, static_tokens: int, page_size: int = 1
) -> tuple[int, int]:
    """Appends the request that takes the padding. The first ``batch`` requests must be in the buffers already.

    Every argument is a number that the host knows, and every write is a fill: nothing is copied to or from the device.
    The fake request has as many keys as tokens, all on the scratch page, so that each of its rows sees a key. (SGLang
    counts its pages by the pool's page size but plans with 1: its leading rows see none, and come out as NaN or 0.)

    Returns:
        Requests and pages in use, for slicing the buffers.

    Raises:
        ValueError: more tokens than the graph was captured for.
    """
    padding = static_tokens - real_tokens
    if padding < 0:
        raise ValueError(f"{real_tokens} tokens in a graph captured for {static_tokens}")
    if padding == 0:
        return batch, used_pages
    pages = -(-padding // page_size)
    buffers.kv_indices[used_pages : used_pages + pages] = SCRATCH
    buffers.qo_indptr[batch + 1 : batch + 2] = static_tokens
    buffers.kv_indptr[batch + 1 : batch + 2] = used_pages + pages
    buffers.last_page_len[batch : batch + 1] = padding - (pages - 1) * page_size
    return batch + 1, used_pages + pages


def padding_faults(plan: PagedMetadata, padded: PagedMetadata, static_tokens: int, mode: PadMode) -> list[str]:
    """What is wrong with padded metadata; empty: nothing."""
    faults = []
    batch, used = plan.batch, len(plan.kv_indices)
    pads = mode == "fake-request" and plan.tokens < static_tokens
    tokens = static_tokens if mode == "fake-request" else plan.tokens
    if padded.tokens != tokens:
        faults.append(f"qo_indptr ends at {padded.tokens}, not at {tokens}")
    if padded.batch != batch + pads:
        faults.append(f"{padded.batch} requests, not {batch + pads}")
    for name, real, whole in (
        ("qo_indptr", plan.qo_indptr, padded.qo_indptr[: batch + 1]),
        ("kv_indptr", plan.kv_indptr, padded.kv_indptr[: batch + 1]),
        ("kv_indices", plan.kv_indices, padded.kv_indices[:used]),
        ("last_page_len", plan.last_page_len, padded.last_page_len[:batch]),
    ):
        if real.dtype != whole.dtype or real.tobytes() != whole.tobytes():
            faults.append(f"{name} of the real rows differs from the unpadded plan's")
    if (padded.kv_indices[used:] != SCRATCH).any():
        faults.append(f"padding outside of scratch slot {SCRATCH}")
    if (plan.kv_indices == SCRATCH).any():
        faults.append(f"a request owns scratch slot {SCRATCH}")
    if pads and padded.kv_lens()[-1] != static_tokens - plan.tokens:
        faults.append(f"the fake request has {padded.kv_lens()[-1]} keys for {static_tokens - plan.tokens} tokens")
    return faults


def capture_sizes(most: int = 4096) -> tuple[int, ...]:
    """Token counts that SGLang captures piecewise graphs for, up to ``most`` (0.5.10 and 0.5.16)."""
    steps = ((4, 32, 4), (48, 256, 16), (288, 512, 32), (576, 1024, 64), (1280, 4096, 256), (4608, most, 512))
    return tuple(size for first, last, step in steps for size in range(first, last + 1, step) if size <= most)


def captured_size(tokens: int, sizes: Sequence[int], at_most_double: bool = False) -> int | None:
    """The smallest captured size that holds ``tokens``; None: run eagerly.

    Args:
        tokens: real tokens; none need no graph.
        sizes: ascending.
        at_most_double: as SGLang from 0.5.16 on, rather eager than more padding than tokens.
    """
    index = bisect_left(sizes, tokens)
    if tokens < 1 or index == len(sizes):
        return None
    size = sizes[index]
    return None if at_most_double and size > 2 * tokens else size
