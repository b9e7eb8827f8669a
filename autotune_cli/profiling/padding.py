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
    """A row of integers that takes a number for a slice: a numpy array, or a torch tensor on any device."""

    def __setitem__(self, place: slice, value: int, /) -> None: ...
    def __getitem__(self, place: slice, /) -> Any: ...


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


def plan_metadata(
    pages: Sequence[Sequence[int]], seq_lens: Sequence[int], prefix_lens: Sequence[int], page_size: int = 1
) -> PagedMetadata:
    """The metadata of a batch without padding: each request's keys, prefix and new tokens alike, by page.

    Args:
        pages: the pages of each request, at least as many as its keys take.
        seq_lens: keys of each request, its new tokens included.
        prefix_lens: those of them that were cached before.
        page_size: keys a page; SGLang plans with 1 whatever its pool's pages are.

    Raises:
        ValueError: too few pages, or a prefix longer than the sequence.
    """
    counts = [-(-length // page_size) for length in seq_lens]
    for owned, count, length, cached in zip(pages, counts, seq_lens, prefix_lens, strict=True):
        if not 0 <= cached <= length or len(owned) < count:
            raise ValueError(f"{cached} cached of {length} keys on {len(owned)} pages of {page_size}")
    return PagedMetadata(
        qo_indptr=_starts([length - cached for length, cached in zip(seq_lens, prefix_lens, strict=True)]),
        kv_indptr=_starts(counts),
        kv_indices=_array([page for owned, count in zip(pages, counts, strict=True) for page in owned[:count]]),
        last_page_len=_array([(length - 1) % page_size + 1 if length else 0 for length in seq_lens]),
        page_size=page_size,
    )


@dataclass(frozen=True)
class Buffers:
    """Room for the largest padded batch, made once: nothing is allocated, and nobody waits, while planning."""

    qo_indptr: Buffer
    """[pool + 2]: every request of the pool, and the fake one."""
    kv_indptr: Buffer
    """[pool + 2]."""
    kv_indices: Buffer
    last_page_len: Buffer
    """[pool + 1]: SGLang 0.5.10 had one entry too few here for a batch as large as the pool."""

    @staticmethod
    def make(pool: int, most_pages: int, most_tokens: int) -> Buffers:
        """Numpy buffers for ``pool`` requests on ``most_pages`` pages and up to ``most_tokens`` padded tokens."""
        sizes = (pool + 2, pool + 2, most_pages + most_tokens, pool + 1)
        return Buffers(*(np.full(size, -1, dtype=np.int32) for size in sizes))


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


def pad_with_fake_request(plan: PagedMetadata, static_tokens: int, buffers: Buffers | None = None) -> PagedMetadata:
    """The plan padded to ``static_tokens`` by an extra request; an exact fit adds none.

    Raises:
        ValueError: the plan has more tokens than that.
    """
    used = len(plan.kv_indices)
    room = Buffers.make(plan.batch, used, max(0, static_tokens)) if buffers is None else buffers
    for buffer, values in (
        (room.qo_indptr, plan.qo_indptr),
        (room.kv_indptr, plan.kv_indptr),
        (room.kv_indices, plan.kv_indices),
        (room.last_page_len, plan.last_page_len),
    ):
        buffer[: len(values)] = values  # type: ignore[assignment]
    batch, used = write_fake_request(room, plan.batch, used, plan.tokens, static_tokens, plan.page_size)
    return PagedMetadata(
        room.qo_indptr[: batch + 1],
        room.kv_indptr[: batch + 1],
        room.kv_indices[:used],
        room.last_page_len[:batch],
        plan.page_size,
    )


def narrow(plan: PagedMetadata, static_tokens: int) -> tuple[PagedMetadata, slice, slice]:
    """The other way: the plan stays as it is; the operation takes the real rows of its static tensors.

    Returns:
        The plan, the rows to compute, and the rows to set to zero: what is left there must not reach the next layer.

    Raises:
        ValueError: the plan has more tokens than that.
    """
    if plan.tokens > static_tokens:
        raise ValueError(f"{plan.tokens} tokens in a graph captured for {static_tokens}")
    return plan, slice(0, plan.tokens), slice(plan.tokens, static_tokens)


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
    place = bisect_left(sizes, tokens)
    if tokens < 1 or place == len(sizes):
        return None
    size = sizes[place]
    return None if at_most_double and size > 2 * tokens else size


def _starts(lens: Sequence[int]) -> Int32:
    return np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(_array(lens), dtype=np.int32)])


def _array(values: Sequence[int]) -> Int32:
    return np.asarray(values, dtype=np.int32)
