"""Our own top-k, ``autotune_topk.cu``: exact radix selection on rows that stay in the registers of a cluster of blocks.

Scores are read once. Deterministic: equal inputs give equal bits, whatever the batch; of equal scores those at the
smallest positions are taken, or those at the largest. Safe in graphs: lengths are read on the GPU, and what is launched
depends on the shape and the knobs alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends import _autotune_build

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

SOURCE = Path(__file__).with_suffix(".cu")
MOST_K = 4096
# Scores that a thread holds, as compiled; 0 values: a thread reads its scores anew for each pass.
VALUES = (8, 16, 32)
REREAD_VALUES = 16
THREADS = (256, 512, 1024)
# Clusters of more than 8 blocks are not portable; a GPU of compute capability 9.0 takes 16 (CUDA programming guide).
CLUSTERS = (1, 2, 4, 8, 16)
# Keys that share the digits of the threshold found so far, of which each block then takes a copy.
MOST_KEPT = 6144


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


def knobs(workload: TopkWorkload, device: Device) -> Iterator[Mapping[str, Knob]]:
    """Ways to share a row out: blocks of a cluster, and threads of a block. One thread holds up to 32 scores."""
    clusters = CLUSTERS if (device.capability or (0, 0)) >= (9, 0) else CLUSTERS[:1]
    shapes = [(cluster, threads) for cluster in clusters for threads in THREADS]
    fitting = [shape for shape in shapes if values_of(workload.keys, *shape) is not None]
    # Where a half of the threads would do with 8 scores each, the others wait for them.
    lean = [shape for shape in fitting if shape[0] * shape[1] * min(VALUES) < 2 * workload.keys]
    for cluster, threads in lean or fitting[:1] or [(clusters[-1], max(THREADS))]:
        for tie_break in ("small", "large"):
            yield {"cluster": cluster, "threads": threads, "tie_break": tie_break}


def unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.dtype not in ("float32", "bfloat16"):
        return f"takes float32 or bfloat16 scores, not {workload.dtype}"
    if workload.k > MOST_K:
        return f"takes k up to {MOST_K}, this is k = {workload.k}"
    major, minor = device.capability or (0, 0)
    if major < 8:
        return f"is for compute capability 8.0 and above, this is {major}.{minor}"
    return _autotune_build.why_not(SOURCE, 10 * major + minor)


def modules(workload: TopkWorkload, **knobs: Knob) -> list[Module]:
    return [_autotune_build.module(SOURCE, label="our top-k", seconds=15.0, gigabytes=0.5)]


@register(
    "topk.select",
    "topk.paged",
    "topk.ragged",
    name="autotune.topk",
    knobs=knobs,
    requires=("torch",),
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: TopkProblem, cluster: int, threads: int, tie_break: str) -> Callable[[], torch.Tensor]:
    """One launch. Only where the host may know that all rows are full are lengths not read."""
    import torch

    workload, layout, scores = problem.workload, problem.layout, problem.scores
    library = _autotune_build.load(_autotune_build.library_path(SOURCE, _autotune_build.architecture()))
    values = values_of(workload.keys, cluster, threads)
    shape = (
        int(problem.workload.dtype == "bfloat16"),
        threads,
        values or REREAD_VALUES,
        int(values is not None),
        cluster,
    )
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
        most_kept=MOST_KEPT,
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
