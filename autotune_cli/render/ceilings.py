"""The ceilings of a device in words, and which candidates are faster than the floor that follows from them."""

from __future__ import annotations

from autotune_cli.measure.floor import at_highest_clock, share_of_floor
from autotune_cli.results.schema import CandidateResult, Environment, WorkloadResult


def ceilings_line(environment: Environment) -> str | None:
    """``ceilings: 3,074 GB/s at 1980/2619 MHz (SM/memory), 780.1 TFLOP/s bf16 at 1755 MHz (880.1 at 1980)``."""
    if environment.memory_gb_per_s is None or environment.matmul_tflop_per_s is None:
        return None
    memory = f"{environment.memory_gb_per_s:,.0f} GB/s"
    if environment.memory_sm_clock_mhz and environment.memory_clock_mhz:
        memory += f" at {environment.memory_sm_clock_mhz:.0f}/{environment.memory_clock_mhz:.0f} MHz (SM/memory)"
    half = "bf16" if environment.device_kind == "cuda" else "float32"
    rates = [_rate(half, environment.matmul_tflop_per_s, environment.matmul_sm_clock_mhz, environment)]
    if environment.fp8_tflop_per_s is not None:
        rates.append(_rate("fp8", environment.fp8_tflop_per_s, environment.fp8_sm_clock_mhz, environment))
    return f"ceilings: {', '.join([memory, *rates])}"


def _rate(name: str, rate: float, clock_mhz: float | None, environment: Environment) -> str:
    """A matrix rate, the clock it had, and what the floor makes of it where the device can have a higher one."""
    text = f"{_tflop(rate)} TFLOP/s {name}"
    if clock_mhz:
        text += f" at {clock_mhz:.0f} MHz"
    highest = at_highest_clock(rate, clock_mhz, environment.max_sm_clock_mhz) or rate
    if highest > rate:
        text += f" ({_tflop(highest)} at {environment.max_sm_clock_mhz:.0f})"
    return text


def _tflop(rate: float) -> str:
    return f"{rate:,.1f}" if rate >= 10 else f"{rate:.2f}"


def above_floor_words(result: WorkloadResult, candidate: CandidateResult) -> str:
    """The contradiction of a kernel that is right and, beyond its interval, faster than the floor."""
    share = share_of_floor(result, candidate)
    assert share is not None
    # Only a CPU's identity names threads.
    if "threads" in result.identity:
        why = "a CPU's caches are warm, and memory's bandwidth is no limit for what lies in them"
    else:
        why = "the ceiling was measured too low, or the workload's bytes are over-counted"
    return f"{candidate.label} stands at {100 * share:.1f} % of the floor, above 100 % beyond its interval: {why}"
