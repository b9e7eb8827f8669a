"""The roofline's floor: no kernel for this workload runs much faster. Imports no torch."""

from __future__ import annotations

from autotune_cli.kernels.workload import Cost


def floor_us(cost: Cost, gb_per_s: float | None, tflop_per_s: float | None) -> float | None:
    """The least time for that many bytes and flops at those rates, in microseconds; None without the rates."""
    if not gb_per_s or not tflop_per_s:
        return None
    return max(cost.bytes / gb_per_s / 1e3, cost.flops / tflop_per_s / 1e6)
