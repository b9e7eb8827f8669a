"""NVML of made-up GPUs, in the place of pynvml."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest


@dataclass
class FakeGpu:
    """One GPU. A reading that is None is refused, as NVML does."""

    name: str | None = "NVIDIA H100 80GB HBM3"
    uuid: str | None = "GPU-3c1b"
    capability: tuple[int, int] | None = (9, 0)
    memory: tuple[int, int] = (80 << 30, 600 << 20)
    """Total and used."""
    sm_mhz: float | None = 345.0
    reasons: int | None = 1
    limit_w: float | None = 700.0
    default_w: float | None = 700.0
    processes: int = 0
    load: int | None = 0
    ecc: int | None = 0
    compute_mode: int = 0
    mig: int | None = None


class NVMLError(Exception):
    pass


def install(
    monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu, driver: str = "580.95", cuda: int = 13000, fails: str = ""
) -> None:
    """Put NVML with these GPUs in the place of the real one.

    Args:
        fails: what initialising it says; empty: it works.
    """

    def init() -> None:
        if fails:
            raise NVMLError(fails)

    def of(field: str) -> Any:
        def read(handle: FakeGpu, *_: Any) -> Any:
            value = getattr(handle, field)
            if value is None:
                raise NVMLError(field)
            return value

        return read

    def watts(field: str) -> Any:
        return lambda handle: int(of(field)(handle) * 1e3)

    def clock(handle: FakeGpu, kind: int) -> float:
        value: float = of("sm_mhz")(handle)
        return 2619 if kind == 2 else value

    fake = SimpleNamespace(
        NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_TEMPERATURE_GPU=0,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1, NVML_VOLATILE_ECC=0,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlSystemGetDriverVersion=lambda: driver,
        nvmlSystemGetCudaDriverVersion_v2=lambda: cuda,
        nvmlDeviceGetHandleByIndex=lambda index: gpus[index],
        nvmlDeviceGetHandleByUUID=lambda uuid: next(gpu for gpu in gpus if gpu.uuid == uuid),
        nvmlDeviceGetUUID=of("uuid"),
        nvmlDeviceGetName=of("name"),
        nvmlDeviceGetCudaComputeCapability=of("capability"),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(total=gpu.memory[0], used=gpu.memory[1]),
        nvmlDeviceGetMigMode=lambda gpu: (of("mig")(gpu), 0),
        nvmlDeviceGetClockInfo=clock,
        nvmlDeviceGetMaxClockInfo=lambda gpu, kind: 1980,
        nvmlDeviceGetCurrentClocksEventReasons=of("reasons"),
        nvmlDeviceGetPowerUsage=lambda gpu: 71000,
        nvmlDeviceGetTemperature=lambda gpu, kind: 34,
        nvmlDeviceGetEnforcedPowerLimit=watts("limit_w"),
        nvmlDeviceGetPowerManagementDefaultLimit=watts("default_w"),
        nvmlDeviceGetTotalEccErrors=of("ecc"),
        nvmlDeviceGetComputeMode=of("compute_mode"),
        nvmlDeviceGetComputeRunningProcesses=lambda gpu: [object()] * gpu.processes,
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=of("load")(gpu)),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
