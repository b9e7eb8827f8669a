"""Matrix rates: products of several shapes on random data, in short bursts.

Under the power cap of a GPU a long series of products runs at a lower clock than an attention kernel of 50 to 500 us
that comes after a rest: a ceiling measured there would be beaten. So each burst is a few calls after a rest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from autotune_cli.measure.ceilings.trials import Timed, Trial, time_trials
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.timers.base import Timer

# A product takes 0.2 to 1.4 ms on an H100, so that a burst ends within 6 ms: meant to be over before the power cap cuts
# the clock. The burst's clock tells whether it was (and benchmarks/ceiling.py has a long series beside it).
_BURST = 4
_REST_S = 0.02
# Rows of an output tile of cuBLAS's large Hopper kernels. A tile row for each SM leaves none of them without work.
_TILE = 128


class ProductShape(NamedTuple):
    """[m, k] times [k, n]."""

    m: int
    n: int
    k: int

    def __str__(self) -> str:
        return f"{self.m} x {self.n} x {self.k}"


Product = Callable[[ProductShape, str], Callable[[], object]]


def shapes(device: str, multiprocessors: int) -> tuple[ProductShape, ...]:
    """What to multiply on ``cuda`` or ``cpu``."""
    if device == "cpu":
        return (ProductShape(1024, 1024, 1024),)
    even = ProductShape(_TILE * multiprocessors, 4096, 4096) if multiprocessors else ProductShape(8192, 4096, 4096)
    return ProductShape(4096, 4096, 4096), ProductShape(8192, 8192, 8192), ProductShape(16384, 4096, 4096), even


def half_product(shape: ProductShape, device: str) -> Callable[[], object]:
    """bfloat16 (CPU: float32), which float16 is as fast as."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a = torch.randn(shape.m, shape.k, device=device).to(dtype)
    b = torch.randn(shape.k, shape.n, device=device).to(dtype)
    out = torch.empty(shape.m, shape.n, dtype=dtype, device=device)
    return lambda: torch.mm(a, b, out=out)


def fp8_product(shape: ProductShape, device: str) -> Callable[[], object]:
    """float8_e4m3fn with a bfloat16 result, A by rows and B by columns (what cuBLAS takes), fast accumulation."""
    a = torch.randn(shape.m, shape.k, device=device).to(torch.float8_e4m3fn)
    b = torch.randn(shape.n, shape.k, device=device).to(torch.float8_e4m3fn).t()
    one = torch.ones((), dtype=torch.float32, device=device)
    return lambda: torch._scaled_mm(a, b, one, one, out_dtype=torch.bfloat16, use_fast_accum=True)


def time_products(
    product: Product, device: str, timer: Timer, gpu: Gpu | None = None, multiprocessors: int = 0
) -> list[Timed]:
    """A burst of each shape; amounts are floating-point operations. Empty where the device or torch can't do it."""
    timed = []
    for shape in shapes(device, multiprocessors):
        # AttributeError: a private function of torch, which another version may lack.
        with contextlib.suppress(RuntimeError, AttributeError):
            call = product(shape, device)
            # cuBLAS picks and loads its kernel in the first call.
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            time.sleep(_REST_S)
            timed += time_trials(timer, [Trial(str(shape), 2.0 * shape.m * shape.n * shape.k, call)], _BURST, gpu)
    if device == "cuda":
        torch.cuda.empty_cache()
    return timed
