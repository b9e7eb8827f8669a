"""Memory bandwidth: several ways to read or copy buffers far larger than any cache.

It isn't known beforehand which way is the fastest on a card. On an H200 a copy stayed a few percent below a read, and a
decode kernel reached 103 % of the copy's bandwidth; on an H100 reading 1 GiB stayed 4 % below reading 4 GiB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from autotune_cli.measure.ceilings.trials import Timed, Trial, time_trials
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.timers.base import Timer

GIB = 1 << 30
# Where a kernel starts and ends, fewer of its loads are in flight: some microseconds, of 0.7 ms at 2 GiB. torch's
# reductions work on at most 2 GiB a launch (TensorIterator indexes bytes with 32 bits), so that buffers much larger
# than that gain them nothing.
SIZES = {"cuda": (8 * GIB, 4 * GIB, 1 * GIB), "cpu": (256 << 20,)}
# At most this share of the memory that is free, in case another process wants some at the same moment.
_SHARE_OF_FREE = 0.4
# Below this a buffer is no multiple of a cache any more.
_SMALLEST = 256 << 20
# cuBLAS indexes vectors and matrices with 32 bits. Below this no offset, in elements or bytes, leaves them.
_MOST_CUBLAS = 4 * GIB
_REPEATS = 4
_ROW_BYTES = 32 << 10


@dataclass(frozen=True)
class Access:
    """A way to go through a buffer (uint8, every float32 in it 1.0). ``call(buffer)`` makes what does it."""

    name: str
    call: Callable[[torch.Tensor], Callable[[], object]]
    most_bytes: int | None = None
    writes: bool = False
    """Half of the buffer is read and the other half written."""
    devices: tuple[str, ...] = ("cuda",)


def _flat(dtype: torch.dtype) -> Callable[[torch.Tensor], Callable[[], object]]:
    """The largest of all elements: one result."""

    def make(buffer: torch.Tensor) -> Callable[[], object]:
        source = buffer.view(dtype)
        out = torch.empty((), dtype=dtype, device=buffer.device)
        return lambda: torch.amax(source, dim=0, out=out)

    return make


def _reduced(dtype: torch.dtype, dim: int) -> Callable[[torch.Tensor], Callable[[], object]]:
    """The largest of each row (``dim`` 1) or column (0) of a matrix with rows of 32 KiB."""

    def make(buffer: torch.Tensor) -> Callable[[], object]:
        source = buffer.view(dtype).view(-1, _ROW_BYTES // dtype.itemsize)
        out = torch.empty(source.shape[1 - dim], dtype=dtype, device=buffer.device)
        return lambda: torch.amax(source, dim=dim, out=out)

    return make


def _dot(buffer: torch.Tensor) -> Callable[[], object]:
    """The dot product of its halves, by cuBLAS. In float64: half as many elements to index."""
    source = buffer.view(torch.float64)
    first, second = source.chunk(2)
    # Without out=, for which torch would copy the result.
    return lambda: torch.dot(first, second)


def _mv(buffer: torch.Tensor) -> Callable[[], object]:
    """A matrix by a vector, by cuBLAS."""
    matrix = buffer.view(torch.float32).view(-1, _ROW_BYTES // 4)
    vector = torch.ones(matrix.shape[1], dtype=torch.float32, device=buffer.device)
    out = torch.empty(matrix.shape[0], dtype=torch.float32, device=buffer.device)
    return lambda: torch.mv(matrix, vector, out=out)


def _copy(buffer: torch.Tensor) -> Callable[[], object]:
    source, target = buffer.chunk(2)
    return lambda: target.copy_(source)


ACCESSES: tuple[Access, ...] = (
    Access("amax float32", _flat(torch.float32), devices=("cuda", "cpu")),
    # Eight bytes an element: more of them in flight for each thread.
    Access("amax int64", _flat(torch.int64)),
    Access("amax float32 of rows", _reduced(torch.float32, 1)),
    Access("amax int64 of rows", _reduced(torch.int64, 1)),
    Access("amax float32 of columns", _reduced(torch.float32, 0)),
    Access("dot float64", _dot, most_bytes=_MOST_CUBLAS),
    Access("mv float32", _mv, most_bytes=_MOST_CUBLAS),
    Access("copy", _copy, writes=True, devices=("cuda", "cpu")),
)


def time_accesses(
    device: str, timer: Timer, gpu: Gpu | None = None, l2_bytes: int = 0, repeats: int = _REPEATS
) -> list[Timed]:
    """Every access at every size that fits; amounts are bytes. Empty where memory is too short.

    ``timer`` flushes the L2 cache before each call, or a part of a buffer might still lie in it.
    """
    buffer = _largest_buffer(SIZES[device], device)
    if buffer is None:
        return []
    buffer.view(torch.float32).fill_(1.0)
    trials = []
    for size in sorted({min(size, buffer.numel()) for size in SIZES[device]}, reverse=True):
        for access in ACCESSES:
            if device in access.devices and (access.most_bytes is None or size <= access.most_bytes):
                trials += _trial(access, buffer[:size], l2_bytes)
    timed = time_trials(timer, trials, repeats, gpu)
    del trials, buffer
    if device == "cuda":
        # The race's tensors may need it in one piece.
        torch.cuda.empty_cache()
    return timed


def _trial(access: Access, buffer: torch.Tensor, l2_bytes: int) -> list[Trial]:
    """Called once, so that libraries are loaded; nothing if this device can't do it."""
    # What was written last may still lie in the L2 cache at the end of the copy: that much hasn't reached memory.
    amount = buffer.numel() - (l2_bytes if access.writes else 0)
    with contextlib.suppress(RuntimeError):
        call = access.call(buffer)
        call()
        return [Trial(f"{access.name}, {_size(buffer.numel())}", float(amount), call)]
    return []


def _largest_buffer(sizes: Sequence[int], device: str) -> torch.Tensor | None:
    """A uint8 buffer of the largest size that fits well, or of what does; None below 256 MiB."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else None
    room = max(sizes) if free is None else int(_SHARE_OF_FREE * free) // _SMALLEST * _SMALLEST
    for size in [size for size in sizes if size <= room] or [room]:
        if size >= _SMALLEST:
            # Another process may take what was free.
            with contextlib.suppress(torch.OutOfMemoryError):
                return torch.empty(size, dtype=torch.uint8, device=device)
    return None


def _size(size: int) -> str:
    return f"{size / GIB:g} GiB" if size >= GIB else f"{size >> 20} MiB"
