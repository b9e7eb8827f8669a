"""The roofline's floor: the least time of a workload on this device, and kernels that seem to be below it.

Imports no torch.
"""

from __future__ import annotations

from autotune_cli.kernels.base import Cost
from autotune_cli.results.schema import MEASURED, CandidateResult, Environment, WorkloadResult

# The first compute capability whose tensor cores multiply FP8 (Ada; PTX ISA, mma with .e4m3).
FP8_CAPABILITY = (8, 9)
# FP8 tensor cores do twice as many operations a clock as bf16 ones (H100 data sheet: 1979 and 989 TFLOP/s).
_FP8_OVER_BF16 = 2.0
# Below this share of the highest clock NVML has read an idle moment (345 of 1980 MHz on an H100), not a working card: a
# power limit of half of what a card is made for leaves it more than half of its clock.
_IDLE = 0.5


def floor_us(cost: Cost, environment: Environment, l2: str = "cold") -> float | None:
    """The least time for that many bytes and flops at the device's ceilings, in microseconds.

    None without ceilings, or where nothing has to be moved or multiplied. What is written need not have left the L2
    cache when a kernel ends, so only what doesn't fit into it counts; with ``l2`` ``warm`` the same goes for what is
    read. float16 has bfloat16's rate (tensor cores do both alike), and float32 is given it too: its own, on tensor
    cores or not, is lower, so that the floor stays one.
    """
    rate = tflop_per_s(environment, cost.fp8)
    if not environment.memory_gb_per_s or not rate:
        return None
    cache = float(environment.l2_bytes)
    read = cost.bytes - cost.written
    moved = max(0.0, read - cache if l2 == "warm" else read) + max(0.0, cost.written - cache)
    return max(moved / environment.memory_gb_per_s / 1e3, cost.flops / rate / 1e6) or None


def tflop_per_s(environment: Environment, fp8: bool = False) -> float | None:
    """The matrix rate at the highest clock that the device can have, in TFLOP/s; None: not measured."""
    highest = environment.max_sm_clock_mhz
    bf16 = at_highest_clock(environment.matmul_tflop_per_s, environment.matmul_sm_clock_mhz, highest)
    if not fp8 or bf16 is None or (environment.capability or (0, 0)) < FP8_CAPABILITY:
        return bf16
    measured = at_highest_clock(environment.fp8_tflop_per_s, environment.fp8_sm_clock_mhz, highest)
    return max(bf16, measured) if measured is not None else _FP8_OVER_BF16 * bf16


def at_highest_clock(rate: float | None, clock_mhz: float | None, highest_mhz: float | None) -> float | None:
    """A matrix rate that was measured at one SM clock, at the highest one.

    Tensor cores do a fixed number of operations a clock, so a kernel that draws less power than the product that was
    measured may run at a higher clock and pass its rate. Where the clock is locked, kernels have no other
    either, and the rate comes out higher than it need be: the floor is one all the same. A clock below half of the
    highest was read in an idle moment, and the rate stays as it is.
    """
    if rate is None or not clock_mhz or not highest_mhz:
        return rate
    return rate * max(1.0, highest_mhz / clock_mhz) if clock_mhz >= _IDLE * highest_mhz else rate


def is_above_floor(result: WorkloadResult, candidate: CandidateResult) -> bool:
    """Is the candidate faster than the floor, beyond its interval? Then the floor isn't one."""
    if result.floor_us is None or candidate.median_us is None:
        return False
    slowest = max(candidate.median_us, candidate.interval_us[1] if candidate.interval_us else 0.0)
    return slowest < result.floor_us


def share_of_floor(result: WorkloadResult, candidate: CandidateResult) -> float | None:
    """The floor over the candidate's time: 1 is as fast as the device can be.

    More than 1 only beyond the candidate's interval (:func:`is_above_floor`): within it, the two can't be told apart.
    """
    if result.floor_us is None or candidate.median_us is None:
        return None
    share = result.floor_us / candidate.median_us
    return share if is_above_floor(result, candidate) else min(share, 1.0)


def above_floor(result: WorkloadResult) -> list[CandidateResult]:
    """The candidates that are right and faster than the floor beyond their intervals, the fastest first."""
    found = [entry for entry in result.candidates if entry.status in MEASURED and is_above_floor(result, entry)]
    return sorted(found, key=lambda candidate: candidate.median_us or 0.0)
