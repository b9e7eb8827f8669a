"""What a run measured on, how, and what the GPU was like meanwhile."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from autotune_cli.results.schema.base import Record


class Ceilings(Record):
    """What a device was measured to reach, for the floors; None: not measured. No timing depends on them, so they are
    part of no identity. How they are measured: docs/benchmarks.md, "What the floor is".
    """

    memory_gb_per_s: PositiveFloat | None = None
    """Memory bandwidth in GB/s: the fastest of several large reads and copies."""
    memory_sm_clock_mhz: PositiveFloat | None = None
    """SM clock while that was read or copied, in MHz."""
    memory_clock_mhz: PositiveFloat | None = None
    """Memory clock while that was read or copied, in MHz."""
    matmul_tflop_per_s: PositiveFloat | None = None
    """bfloat16 (CPU: float32) matrix rate in TFLOP/s: the fastest of several products in short bursts, as it was
    measured at ``matmul_sm_clock_mhz``."""
    matmul_sm_clock_mhz: PositiveFloat | None = None
    """SM clock during that burst, in MHz."""
    fp8_tflop_per_s: PositiveFloat | None = None
    """The same of float8_e4m3fn products, from compute capability 8.9 on."""
    fp8_sm_clock_mhz: PositiveFloat | None = None
    """SM clock during that burst, in MHz."""


class Environment(Ceilings):
    """What a timing depends on besides the workload and the candidate; and the ceilings, on which none does."""

    device_kind: Literal["cuda", "cpu"]
    device: str
    """The GPU's product name, or the processor's."""
    capability: tuple[int, int] | None = None
    multiprocessors: NonNegativeInt = 0
    memory_bytes: NonNegativeInt = 0
    l2_bytes: NonNegativeInt = 0
    driver: str | None = None
    cuda: str | None = None
    """CUDA version torch was built for."""
    threads: NonNegativeInt = 0
    """Threads torch computes with (CPU only)."""
    python: str
    libraries: dict[str, str] = Field({})
    """Versions: torch, triton, flashinfer, sgl_kernel; ``not installed`` where missing. Where installed also
    flash_attn.cute and what compiles its kernels, cutlass_dsl and quack."""
    variables: dict[str, str] = Field({})
    """Environment variables set by the user that change kernels (FLASHINFER_*, SGLANG_*, CUDA_*, OMP_*)."""
    power_limit_w: PositiveFloat | None = None
    max_sm_clock_mhz: PositiveFloat | None = None


class Settings(Record):
    """How a run measured."""

    timer: str
    """Its name: a file of measure/timers."""
    l2: Literal["cold", "warm"]
    rounds: NonNegativeInt
    iterations: NonNegativeInt
    places: PositiveInt = 1
    """At how many places in memory a round's calls are made; large inputs at one."""
    seed: int
    exhaustive: bool = False
    budget_s: PositiveFloat | None = None
    timeout_s: PositiveFloat = 60.0


class Conditions(Record):
    """The GPU during one round. Dropped rounds have no times."""

    round: NonNegativeInt
    sm_clock_mhz: NonNegativeFloat | None = None
    memory_clock_mhz: NonNegativeFloat | None = None
    temperature_c: float | None = None
    power_w: NonNegativeFloat | None = None
    throttle: tuple[str, ...] = ()
    dropped: bool = False
