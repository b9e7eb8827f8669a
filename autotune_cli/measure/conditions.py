"""Clock, temperature, power and throttling of a GPU, through NVML. Reads only: nothing is ever set."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from autotune_cli.results.schema import CandidateResult, Conditions

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h) that slow a kernel down. Idle and application clocks don't.
THROTTLE_BITS: dict[int, str] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}
# A power cap trims the clock a little at heavy loads and is normal; the others mean that something is wrong.
_ALWAYS_DROP = frozenset({"hardware slowdown", "thermal (software)", "thermal (hardware)", "power brake"})
# nvbench's rule: below this share of the usual clock a sample says nothing about the kernel.
SLOWEST_CLOCK = 0.75


class Gpu:
    """NVML's view of one GPU; every reading that NVML refuses is None."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self.uuid = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)

    def driver(self) -> str | None:
        value = self._read(self._nvml.nvmlSystemGetDriverVersion, handle=False)
        return value.decode() if isinstance(value, bytes) else value

    def power_limit_w(self) -> float | None:
        milliwatts = self._read(self._nvml.nvmlDeviceGetEnforcedPowerLimit)
        return milliwatts / 1e3 if milliwatts else None

    def max_sm_clock_mhz(self) -> float | None:
        return self._read(self._nvml.nvmlDeviceGetMaxClockInfo, self._nvml.NVML_CLOCK_SM) or None

    def clocks(self) -> tuple[float | None, float | None]:
        """SM and memory clock in MHz; read them while the GPU works."""
        sm, memory = self._nvml.NVML_CLOCK_SM, self._nvml.NVML_CLOCK_MEM
        return self._read(self._nvml.nvmlDeviceGetClockInfo, sm), self._read(self._nvml.nvmlDeviceGetClockInfo, memory)

    def conditions(self, number: int) -> Conditions:
        """A reading for round ``number``; take it while the GPU works."""
        bits = self._read(self._nvml.nvmlDeviceGetCurrentClocksEventReasons) or 0
        power = self._read(self._nvml.nvmlDeviceGetPowerUsage)
        return Conditions(
            round=number,
            sm_clock_mhz=self._read(self._nvml.nvmlDeviceGetClockInfo, self._nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._read(self._nvml.nvmlDeviceGetClockInfo, self._nvml.NVML_CLOCK_MEM),
            temperature_c=self._read(self._nvml.nvmlDeviceGetTemperature, self._nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1e3,
            throttle=tuple(word for bit, word in THROTTLE_BITS.items() if bits & bit),
        )

    def _read(self, function: Any, *arguments: Any, handle: bool = True) -> Any:
        with contextlib.suppress(self._nvml.NVMLError):
            return function(self._handle, *arguments) if handle else function(*arguments)
        return None


def is_throttled(conditions: Conditions, usual_sm_clock_mhz: float | None) -> bool:
    """Must the round be dropped? ``usual`` is the median clock of the rounds so far."""
    if _ALWAYS_DROP.intersection(conditions.throttle):
        return True
    if usual_sm_clock_mhz is None or conditions.sm_clock_mhz is None:
        return False
    return conditions.sm_clock_mhz < SLOWEST_CLOCK * usual_sm_clock_mhz


def clock_mhz(candidate: CandidateResult, conditions: Sequence[Conditions]) -> float | None:
    """SM clock of a candidate's rounds in MHz: the middle of their readings, each the round's lowest; None without."""
    rounds = set(candidate.rounds)
    clocks = sorted(reading.sm_clock_mhz for reading in conditions if reading.round in rounds and reading.sm_clock_mhz)
    return clocks[len(clocks) // 2] if clocks else None


def worst(readings: Sequence[Conditions], number: int) -> Conditions:
    """The reading with the lowest clock, with every throttle reason that was seen."""
    if not readings:
        return Conditions(round=number)
    lowest = min(readings, key=lambda reading: reading.sm_clock_mhz or 0.0)
    reasons = sorted({reason for reading in readings for reason in reading.throttle})
    return lowest.model_copy(update={"throttle": tuple(reasons)})
