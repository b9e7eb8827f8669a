"""The GPUs as NVML sees them, before anything runs on them: driver, clocks, power, what else uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune_cli.doctor.findings import Finding, State
from autotune_cli.measure.conditions import Gpu, is_throttled

# Where the kernel's side of the driver shows that it is loaded.
_LOADED = Path("/proc/driver/nvidia/version")
_GIB = 1 << 30
# Per cent of the time in which some kernel ran. A display alone, or a monitor that reads counters, stays below.
_BUSY = 5
# An idle GPU holds up to about this much for its driver, with ECC and persistence.
_USED_BYTES = 1 << 30
# nvmlComputeMode_t (nvml.h).
_PROHIBITED = 2


class NoDriver(Exception):
    """Why NVML can't be asked."""


def gpu_findings() -> Iterator[Finding]:
    """What there is to say of the driver and of every GPU; nothing is set, no CUDA context is made."""
    try:
        nvml = _nvml()
    except NoDriver as error:
        yield _without_driver(str(error))
        return
    count = _ask(nvml, nvml.nvmlDeviceGetCount) or 0
    version = _ask(nvml, nvml.nvmlSystemGetDriverVersion)
    yield Finding("gpu", "driver", State.OK, f"{_text(version) or 'unknown'}, up to CUDA {driver_cuda() or 'unknown'}")
    if not count:
        fix = "in a container: docker run --gpus all ..."
        yield Finding("gpu", "devices", State.NOTE, "the driver is loaded, and no GPU is visible", fix)
    for index in range(count):
        yield from _of_gpu(nvml, index)


def driver_cuda() -> str | None:
    """The newest CUDA that the driver runs, ``13.0``; None: unknown."""
    try:
        nvml = _nvml()
    except NoDriver:
        return None
    number = _ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    # nvml.h: 1000 x major + 10 x minor.
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _nvml() -> Any:
    """pynvml, initialised.

    Raises:
        NoDriver: there is no driver, or it doesn't answer.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:
        raise NoDriver(str(error) or type(error).__name__) from error
    return pynvml


def _without_driver(why: str) -> Finding:
    if _LOADED.exists():
        fix = "after an update of the driver: reboot; in a container: install the NVIDIA container toolkit on the host"
        return Finding("gpu", "driver", State.PROBLEM, f"the NVIDIA driver is loaded and can't be asked: {why}", fix)
    return Finding("gpu", "devices", State.NOTE, f"no NVIDIA GPU: torch's CPU kernels can be tuned here ({why})")


def _of_gpu(nvml: Any, index: int) -> Iterator[Finding]:
    group = f"gpu {index}"
    handle = _ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
    uuid = None if handle is None else _text(_ask(nvml, nvml.nvmlDeviceGetUUID, handle))
    if not uuid:
        fix = "nvidia-smi -q says more; a GPU that has fallen off the bus needs a reboot"
        yield Finding(group, "device", State.PROBLEM, "it doesn't answer", fix)
        return
    gpu = Gpu(uuid)
    capability = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    parts = [_text(_ask(nvml, nvml.nvmlDeviceGetName, handle)) or "unnamed"]
    if capability:
        parts.append(f"compute capability {capability[0]}.{capability[1]}")
    if memory:
        parts.append(f"{memory.total / _GIB:.1f} GiB")
    mig = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mig and mig[0]:
        parts.append("MIG on")
    yield Finding(group, "device", State.OK, ", ".join(parts))
    yield from _conditions(nvml, handle, gpu, group)
    yield from _health(nvml, handle, group)
    yield from _others(nvml, handle, group, memory)


def _conditions(nvml: Any, handle: Any, gpu: Gpu, group: str) -> Iterator[Finding]:
    """Clocks and power as they are now; what they are under load is seen by a probe."""
    now, most = gpu.conditions(0), gpu.max_sm_clock_mhz()
    text = f"SM {_number(now.sm_clock_mhz)} of {_number(most)} MHz now, memory {_number(now.memory_clock_mhz)} MHz"
    text += f", {_number(now.temperature_c)} C, {_number(now.power_w)} W"
    if is_throttled(now, None):
        text += f"; throttled: {', '.join(now.throttle)}"
        fix = "nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER; look at cooling and power supply"
        yield Finding(group, "clocks", State.PROBLEM, text, fix)
    else:
        yield Finding(group, "clocks", State.OK, text)
    limit = gpu.power_limit_w()
    default = _ask(nvml, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    if limit and default and limit < 0.99 * default / 1e3:
        text = f"limited to {limit:.0f} W of {default / 1e3:.0f} W: times are those of a slower card"
        fix = f"sudo nvidia-smi -i {group.removeprefix('gpu ')} -pl {default / 1e3:.0f}"
        yield Finding(group, "power", State.WARNING, text, fix)
    elif limit:
        yield Finding(group, "power", State.OK, f"limit {limit:.0f} W")


def _health(nvml: Any, handle: Any, group: str) -> Iterator[Finding]:
    errors = _ask(
        nvml,
        nvml.nvmlDeviceGetTotalEccErrors,
        handle,
        nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        nvml.NVML_VOLATILE_ECC,
    )
    if errors:
        text = f"{errors} uncorrected memory errors since the driver was loaded: results may be wrong"
        yield Finding(group, "memory", State.PROBLEM, text, "nvidia-smi -q -d ECC; reset or replace the card")
    if _ask(nvml, nvml.nvmlDeviceGetComputeMode, handle) == _PROHIBITED:
        fix = f"sudo nvidia-smi -i {group.removeprefix('gpu ')} -c DEFAULT"
        yield Finding(group, "compute", State.PROBLEM, "its compute mode forbids CUDA", fix)


def _others(nvml: Any, handle: Any, group: str, memory: Any) -> Iterator[Finding]:
    """Who else uses it. In a container NVML often lists no processes, so memory and load are looked at too."""
    processes = _ask(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    load = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    used = memory.used if memory else 0
    said = []
    if processes:
        said.append(f"{len(processes)} other process{'' if len(processes) == 1 else 'es'}")
    if load is not None and load.gpu > _BUSY:
        said.append(f"busy {load.gpu} % of the time")
    if used > _USED_BYTES:
        said.append(f"{used / _GIB:.1f} GiB in use")
    if said:
        text = f"{', '.join(said)}: times get noisy, and large workloads may not fit"
        yield Finding(group, "in use", State.WARNING, text, "nvidia-smi shows who; stop it, or tune on another GPU")
    else:
        yield Finding(group, "in use", State.OK, "by nothing else")


def _ask(nvml: Any, function: Any, *arguments: Any) -> Any:
    """What NVML says; None where it refuses, or is too old for the question."""
    with contextlib.suppress(nvml.NVMLError):
        return function(*arguments)
    return None


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
