"""The ceilings of a real GPU: what they are worth is shown by benchmarks/ceiling.py, not here."""

from __future__ import annotations

import time

import pytest
import torch

from autotune_cli.measure.ceilings.matrix import fp8_product, half_product, time_products
from autotune_cli.measure.ceilings.memory import ACCESSES, SIZES, time_accesses
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.environment import collect, device_of
from autotune_cli.measure.floor import FP8_CAPABILITY
from autotune_cli.measure.roofline import measure_ceilings
from autotune_cli.measure.timers import make_timer
from autotune_cli.results.schema import Environment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(scope="module")
def here() -> tuple[Environment, Gpu]:
    environment, gpu = collect("cuda")
    assert gpu is not None
    return environment, gpu


@pytest.mark.parametrize("timer", ["cupti", "events"])
def test_every_access_works_and_leaves_nothing_allocated(here: tuple[Environment, Gpu], timer: str) -> None:
    environment, gpu = here
    made = make_timer(timer, "cuda")
    torch.mv(torch.ones(64, 64, device="cuda"), torch.ones(64, device="cuda"))  # cuBLAS keeps a workspace from now on
    before = torch.cuda.memory_allocated()
    timed = time_accesses("cuda", made, gpu, environment.l2_bytes, repeats=3)
    assert torch.cuda.memory_allocated() == before
    if torch.cuda.mem_get_info()[0] > 3 * max(SIZES["cuda"]):
        assert {entry.what.split(", ")[0] for entry in timed} == {access.name for access in ACCESSES}
    assert all(len(entry.us) == 3 and min(entry.us) > 0 for entry in timed)
    # All of them went through the whole buffer, or one would be far too fast.
    assert max(entry.rate for entry in timed) < 20 * min(entry.rate for entry in timed)
    assert all(entry.sm_clock_mhz and entry.memory_clock_mhz for entry in timed)


def test_products_work_where_the_device_has_them(here: tuple[Environment, Gpu]) -> None:
    environment, gpu = here
    timer = make_timer("cupti", "cuda")
    half = time_products(half_product, "cuda", timer, gpu, environment.multiprocessors)
    assert len(half) == 4
    fp8 = time_products(fp8_product, "cuda", timer, gpu, environment.multiprocessors)
    assert environment.capability is not None
    assert bool(fp8) == (environment.capability >= FP8_CAPABILITY)


def test_ceilings_of_this_gpu(here: tuple[Environment, Gpu]) -> None:
    environment, gpu = here
    make_timer("cupti", "cuda").measure([lambda: torch.ones(1, device="cuda")], 1)  # CUPTI's start takes seconds
    begin = time.perf_counter()
    ceilings = measure_ceilings(device_of(environment), "cupti", gpu)
    print(f"{time.perf_counter() - begin:.2f} s: {ceilings}")
    assert ceilings.memory_gb_per_s
    assert ceilings.matmul_tflop_per_s
    assert ceilings.memory_clock_mhz
    assert ceilings.matmul_sm_clock_mhz
    if environment.capability == (9, 0):
        assert ceilings.fp8_tflop_per_s is not None
        assert ceilings.fp8_tflop_per_s > 1.3 * ceilings.matmul_tflop_per_s
