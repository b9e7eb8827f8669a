"""The roofline of a device: its two ceilings, memory bandwidth and matrix rate, measured. Not a datasheet's."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.kernels.registry import Device
from autotune_cli.measure.ceilings.matrix import fp8_product, half_product, time_products
from autotune_cli.measure.ceilings.memory import time_accesses
from autotune_cli.measure.ceilings.trials import Timed
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.floor import FP8_CAPABILITY, at_highest_clock
from autotune_cli.measure.timers import make_timer
from autotune_cli.results.schema import Ceilings


def measure_ceilings(device: Device, timer_name: str, gpu: Gpu | None) -> Ceilings:
    """The ceilings of this process's device, with the timer of that name. Takes well under a second on a GPU, besides
    the start of CUPTI.

    Raises:
        MeasurementError: the timer's recording makes no sense.
    """
    # Cold even in a run on a warm L2 cache: a ceiling is that of memory.
    timer = make_timer(timer_name, device.kind, "cold")
    memory = time_accesses(device.kind, timer, gpu, device.l2_bytes)
    half = time_products(half_product, device.kind, timer, gpu, device.multiprocessors)
    has_fp8 = device.kind == "cuda" and (device.capability or (0, 0)) >= FP8_CAPABILITY
    fp8 = time_products(fp8_product, device.kind, timer, gpu, device.multiprocessors) if has_fp8 else []
    return ceilings_of(memory, half, fp8, gpu.max_sm_clock_mhz() if gpu is not None else None)


def ceilings_of(
    memory: Sequence[Timed], half: Sequence[Timed], fp8: Sequence[Timed], highest_clock_mhz: float | None
) -> Ceilings:
    """The best of each kind; of products, the one that would be the fastest at the highest SM clock."""
    fields: dict[str, float | None] = {}
    if memory:
        best = max(memory, key=lambda timed: timed.rate)
        fields |= {"memory_gb_per_s": round(best.rate / 1e9, 1)}
        fields |= {"memory_sm_clock_mhz": best.sm_clock_mhz, "memory_clock_mhz": best.memory_clock_mhz}
    for name, products in (("matmul", half), ("fp8", fp8)):
        if products:
            best = max(
                products, key=lambda timed: at_highest_clock(timed.rate, timed.sm_clock_mhz, highest_clock_mhz) or 0.0
            )
            fields |= {f"{name}_tflop_per_s": round(best.rate / 1e12, 3), f"{name}_sm_clock_mhz": best.sm_clock_mhz}
    # NVML says 0 for a clock that it doesn't know.
    return Ceilings.model_validate({name: value or None for name, value in fields.items()})
