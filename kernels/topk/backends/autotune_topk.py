"""Our own top-k, ``autotune_topk.cu``: exact radix selection on rows that stay in the registers of a cluster of blocks.

Scores are read once. Deterministic: equal inputs give equal bits, whatever the batch; of equal scores those at the
smallest positions are taken, or those at the largest. Safe in graphs: lengths are read on the GPU, and what is launched
depends on the shape and the knobs alone.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_cli.kernels.base import BYTES
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends import _autotune_build

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

SOURCE = Path(__file__).with_suffix(".cu")
MOST_K = 4096
# Scores that a thread holds: as compiled, for "registers"; those of one pass over its part of a row, for "stream".
VALUES = (8, 16, 32)
STREAM_VALUES = 16
THREADS = (256, 512, 1024)
# Clusters of more than 8 blocks are not portable; a GPU of compute capability 9.0 takes 16 (CUDA programming guide).
CLUSTERS = (1, 2, 4, 8, 16)
_FEWEST_KEPT = 4096
# kFewChunks of autotune_topk_block.cuh.
_FEW_CHUNKS = 8
# autotune_topk::Shared.
_FIXED_BYTES = 17576
# Two blocks of the multiprocessors of compute capability 9.0 share 227 KiB; of 8.6, a block has 99.
_SHARED_KIB = {(8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227}
_LEAST_SHARED_KIB = 99
_COMMON_THREADS = 512
# Of an H100, where the device doesn't say.
_MULTIPROCESSORS = 132


class Arguments(ctypes.Structure):
    """``autotune_topk::Arguments``."""

    _fields_ = (
        ("scores", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("row_starts", ctypes.c_void_p),
        ("page_table", ctypes.c_void_p),
        ("row_to_table", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("table_stride", ctypes.c_int64),
        ("rows", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("k", ctypes.c_int32),
        ("page_bits", ctypes.c_int32),
        ("last_of_equals", ctypes.c_int32),
        ("most_kept", ctypes.c_int32),
    )


def values_of(keys: int, cluster: int, threads: int) -> int | None:
    """Scores that each thread must hold for windows of ``keys`` scores; None: more than it can."""
    return next((values for values in VALUES if cluster * threads * values >= keys), None)


def most_kept(workload: TopkWorkload, algorithm: str, cluster: int, threads: int) -> int:
    """Keys that a block has room for: what lies above a sample's bound, and 6 standard deviations.

    The sample and the margin of its bound are those of ``autotune_topk_search.cuh``.
    """
    chunks = -(-workload.keys // (cluster * threads * STREAM_VALUES))
    loads = 2 if algorithm == "stream" and chunks > _FEW_CHUNKS else 1
    sampled = min(threads * loads * 16 // BYTES[workload.dtype], workload.keys)
    expected = workload.k * sampled / workload.keys
    rank = expected + 5.0 * math.sqrt(expected) + 4.0
    kept = rank * workload.keys / sampled * (1.0 + 6.0 / math.sqrt(rank * cluster))
    fewest = _FEWEST_KEPT if algorithm == "registers" else 1024
    return max(fewest, math.ceil(kept / 128) * 128)


def shared_bytes(workload: TopkWorkload, algorithm: str, cluster: int, threads: int) -> int:
    """Shared memory of a block: counts, keys that may be selected and, in ``stream``, a bit for each of its scores."""
    words = 1 + (algorithm == "stream") + (cluster > 1)
    chunk = cluster * threads * STREAM_VALUES
    bits = -(-workload.keys // chunk) * threads * STREAM_VALUES if algorithm == "stream" else 0
    return _FIXED_BYTES + 4 * words * most_kept(workload, algorithm, cluster, threads) + bits // 8


def _shared_limit(device: Device) -> int:
    return 1024 * _SHARED_KIB.get(device.capability or (0, 0), _LEAST_SHARED_KIB)


def knobs(workload: TopkWorkload, device: Device) -> Iterator[Mapping[str, Knob]]:
    """Ways to share a row out: blocks of a cluster, and threads of a block.

    ``registers``: one thread holds up to 32 scores, and a row is read once whatever its scores. ``stream``: rows of any
    width by few threads, so that many rows are under way at a time; read once too, unless a sample misleads. What is
    left out was never among the quickest (H100, 1 to 1024 rows of 4096 to 262144 scores).
    """
    shapes = [("registers", *shape) for shape in _held(workload, device)]
    shapes += [("stream", *shape) for shape in _streamed(workload, device)]
    common = {(algorithm, threads) for algorithm, _, threads in shapes}
    for algorithm, cluster, threads in shapes:
        # The last of equals take as long as the first: fewer ways to share will do.
        both = threads == _COMMON_THREADS or (algorithm, _COMMON_THREADS) not in common
        for tie_break in ("small", "large") if both else ("small",):
            yield {"algorithm": algorithm, "cluster": cluster, "threads": threads, "tie_break": tie_break}


def _clusters(device: Device) -> tuple[int, ...]:
    return CLUSTERS if (device.capability or (0, 0)) >= (9, 0) else CLUSTERS[:1]


def _held(workload: TopkWorkload, device: Device) -> list[tuple[int, int]]:
    """Cluster and threads of ``registers``. Blocks that the GPU has no room for at once only where it must be."""
    shapes = [(cluster, threads) for cluster in _clusters(device) for threads in THREADS]
    fitting = [shape for shape in shapes if values_of(workload.keys, *shape) is not None]
    # Where a half of the threads would do with 8 scores each, the others wait for them.
    fitting = [shape for shape in fitting if shape[0] * shape[1] * min(VALUES) < 2 * workload.keys] or fitting[:1]
    common = [shape for shape in fitting if shape[1] >= _COMMON_THREADS or shape[0] == 1] or fitting
    smallest = min((cluster for cluster, _ in common), default=1)
    most = 2 * (device.multiprocessors or _MULTIPROCESSORS) // workload.rows
    return [shape for shape in common if shape[0] <= max(smallest, most)]


def _streamed(workload: TopkWorkload, device: Device) -> list[tuple[int, int]]:
    """Cluster and threads of ``stream``: so many blocks that they fill the GPU, or are at most two each
    multiprocessor.
    """
    processors = device.multiprocessors or _MULTIPROCESSORS
    shapes = []
    for cluster in _clusters(device):
        blocks = cluster * workload.rows
        if (cluster > 1 and blocks > 2 * processors) or (4 * blocks < processors and cluster < _clusters(device)[-1]):
            continue
        for threads in THREADS:
            if threads < _COMMON_THREADS and (cluster > 1 or blocks < processors):
                continue
            if threads > _COMMON_THREADS and blocks > processors:
                continue
            if 2 * cluster * threads * STREAM_VALUES <= workload.keys:
                shapes.append((cluster, threads))
    limit = _shared_limit(device) // 2
    fitting = [shape for shape in shapes if shared_bytes(workload, "stream", *shape) <= limit]
    if 4 * workload.k <= workload.keys and fitting:
        return fitting
    # What no cluster holds must be streamed, however much of it is selected.
    return [] if _held(workload, device) else [(_clusters(device)[-1], max(THREADS))]


def unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.dtype not in ("float32", "bfloat16"):
        return f"takes float32 or bfloat16 scores, not {workload.dtype}"
    if workload.k > MOST_K:
        return f"takes k up to {MOST_K}, this is k = {workload.k}"
    major, minor = device.capability or (0, 0)
    if major < 8:
        return f"is for compute capability 8.0 and above, this is {major}.{minor}"
    shape = str(knobs["algorithm"]), int(knobs["cluster"] or 1), int(knobs["threads"] or 0)
    needed, limit = shared_bytes(workload, *shape), _shared_limit(device)
    if needed > limit:
        return f"needs {needed // 1024} KiB of shared memory, {device.name} has {limit // 1024}"
    return _autotune_build.why_not(SOURCE, 10 * major + minor)


def modules(workload: TopkWorkload, **knobs: Knob) -> list[Module]:
    return [_autotune_build.module(SOURCE, label="our top-k", seconds=25.0, gigabytes=0.5)]


@register(
    "topk.select",
    "topk.paged",
    "topk.ragged",
    name="autotune.topk",
    knobs=knobs,
    requires=("torch",),
    unsupported=unsupported,
    modules=modules,
    promises={"tie_break": "small"},
)
def prepare(
    problem: TopkProblem, algorithm: str, cluster: int, threads: int, tie_break: str
) -> Callable[[], torch.Tensor]:
    """One launch. Only where the host may know that all rows are full are lengths not read."""
    import torch

    workload, layout, scores = problem.workload, problem.layout, problem.scores
    library = _autotune_build.load(_autotune_build.library_path(SOURCE, _autotune_build.architecture()))
    bfloat16, resident = int(workload.dtype == "bfloat16"), int(algorithm == "registers")
    values = values_of(workload.keys, cluster, threads) if resident else STREAM_VALUES
    if values is None:
        raise ValueError(f"{cluster} x {threads} threads can't hold {workload.keys} scores")
    shape = (bfloat16, threads, values, resident, cluster)
    call = library.autotune_topk_launch
    _check(library, library.autotune_topk_prepare(*shape))

    def address(tensor: torch.Tensor | None) -> int | None:
        return None if tensor is None else tensor.data_ptr()

    table = None if layout is None else layout.page_table
    given = Arguments(
        scores=scores.data_ptr(),
        lengths=None if problem.full else problem.lengths.data_ptr(),
        row_starts=None if layout is None else address(layout.row_starts),
        page_table=address(table),
        row_to_table=None if layout is None else layout.row_to_table.data_ptr(),
        offsets=None if layout is None else address(layout.topk_indices_offset),
        row_stride=scores.stride(0),
        table_stride=0 if table is None else table.stride(0),
        rows=workload.rows,
        width=workload.keys,
        k=problem.k,
        page_bits=workload.page_size.bit_length() - 1,
        last_of_equals=int(tie_break == "large"),
        most_kept=most_kept(workload, algorithm, cluster, threads),
    )
    pointer = ctypes.byref(given)
    size, device = (workload.rows, problem.k), scores.device

    def run() -> torch.Tensor:
        out = torch.empty(size, dtype=torch.int32, device=device)
        given.out = out.data_ptr()
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _check(library, call(pointer, *shape, stream))
        # Tensors whose addresses the launch was given live as long as it does.
        assert problem is not None
        return out

    return run


def _check(library: ctypes.CDLL, error: int) -> None:
    if error:
        library.autotune_topk_error.restype = ctypes.c_char_p
        raise RuntimeError(f"CUDA: {library.autotune_topk_error(error).decode()}")
