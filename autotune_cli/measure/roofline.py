"""The two ceilings of a device, measured: memory bandwidth and matrix rate. Not a datasheet's."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from autotune_cli.measure.statistics import median

# Large against any cache: 1 GiB in, 1 GiB out on a GPU.
_COPY_BYTES = {"cuda": 1 << 30, "cpu": 128 << 20}
_MATRIX = {"cuda": (8192, torch.bfloat16), "cpu": (1024, torch.float32)}
_REPEATS = 7


def memory_gb_per_s(device: str) -> float:
    """Memory bandwidth of ``cuda`` or ``cpu`` in GB/s: the better of a copy, in and out counted, and a read.

    A decode step hardly writes, and reading alone is a few percent faster than copying: over the copy's bandwidth its
    share of the floor came to 103 % on an H200.
    """
    source = torch.ones(_COPY_BYTES[device] // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copied = 2.0 * _COPY_BYTES[device] / _median_seconds(lambda: target.copy_(source), device)
    largest = torch.empty((), dtype=torch.float32, device=device)
    read = _COPY_BYTES[device] / _median_seconds(lambda: torch.amax(source, dim=0, out=largest), device)
    return max(copied, read) / 1e9


def matmul_tflop_per_s(device: str) -> float:
    """Rate of a large square matrix product on random data (bfloat16 on ``cuda``, float32 on ``cpu``) in TFLOP/s."""
    n, dtype = _MATRIX[device]
    a = torch.randn(n, n, device=device).to(dtype)
    b = torch.randn(n, n, device=device).to(dtype)
    out = torch.empty_like(a)
    return 2.0 * n**3 / _median_seconds(lambda: torch.mm(a, b, out=out), device) / 1e12


def _median_seconds(call: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(3):
        call()
    for _ in range(_REPEATS):
        if device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        else:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return median(times)
