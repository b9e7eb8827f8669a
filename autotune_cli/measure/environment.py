"""What a worker process runs on: device, driver, libraries, variables."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from autotune_cli.kernels.registry import Device
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.installed import installed_versions, relevant_variables
from autotune_cli.results.schema import Environment


def library_versions() -> dict[str, str]:
    """Installed version of each kernel library."""
    # The build matters too: 2.11.0+cu130 and 2.11.0+cpu run different kernels.
    return installed_versions() | {"torch": torch.__version__}


def cpu_name() -> str:
    """The processor's product name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def collect(device: str) -> tuple[Environment, Gpu | None]:
    """The environment of ``cuda`` (the first visible GPU) or ``cpu``. Its ceilings are not measured here: that takes
    seconds with CUPTI, and none is needed to list backends, or where everything is in the cache.
    """
    common = {
        "python": platform.python_version(),
        "libraries": library_versions(),
        "variables": relevant_variables(os.environ),
    }
    if device == "cpu":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        environment = Environment.model_validate(
            common
            | {
                "device_kind": "cpu",
                "device": cpu_name(),
                "threads": torch.get_num_threads(),
                "memory_bytes": memory,
            }
        )
        return environment, None
    properties = torch.cuda.get_device_properties(0)
    gpu = Gpu(str(properties.uuid))
    environment = Environment.model_validate(
        common
        | {
            "device_kind": "cuda",
            "device": properties.name,
            "capability": (properties.major, properties.minor),
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": properties.L2_cache_size,
            "driver": gpu.driver(),
            "cuda": torch.version.cuda,
            "power_limit_w": gpu.power_limit_w(),
            "max_sm_clock_mhz": gpu.max_sm_clock_mhz(),
        }
    )
    return environment, gpu


def device_of(environment: Environment) -> Device:
    """What candidates are planned for."""
    return Device(
        kind=environment.device_kind,
        name=environment.device,
        capability=environment.capability,
        multiprocessors=environment.multiprocessors,
        memory_bytes=environment.memory_bytes,
        l2_bytes=environment.l2_bytes,
        cuda=environment.cuda or "" if environment.device_kind == "cuda" else "",
    )
