"""What a worker process runs on: device, driver, libraries, variables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from autotune_cli.kernels.libraries import LIBRARIES
from autotune_cli.kernels.registry import Device
from autotune_cli.measure.conditions import Gpu
from autotune_cli.results.schema import Environment

NOT_INSTALLED = "not installed"
# Variables with these prefixes change which kernel runs, or how it is built, beside those of the libraries.
_PREFIXES = (
    *(prefix for library in LIBRARIES for prefix in library.variables),
    "NVIDIA_TF32",
    "OMP_",
    "MKL_",
)
# Places and switches that change no kernel.
_HARMLESS = (
    "FLASHINFER_WORKSPACE_BASE",
    "FLASHINFER_LOGLEVEL",
    "FLASHINFER_CUDA_ARCH_LIST",
    "FLASHINFER_DISABLE_VERSION_CHECK",
    "FLASHINFER_NVCC_THREADS",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR",
    "SGLANG_FLASHINFER_AUTOTUNE_CACHE",
    "TRITON_CACHE_DIR",
    "TORCH_HOME",
    "TORCH_CUDA_ARCH_LIST",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST",
    "TORCH_DEVICE_BACKEND_AUTOLOAD",
)


def library_versions() -> dict[str, str]:
    """Installed version of each kernel library."""
    versions = {}
    for library in LIBRARIES:
        found = (_version(distribution) for distribution in library.distributions)
        version = next((version for version in found if version is not None), None)
        if version is not None or library.always:
            versions[library.name] = version or NOT_INSTALLED
    # The build matters too: 2.11.0+cu130 and 2.11.0+cpu run different kernels.
    versions["torch"] = torch.__version__
    return versions


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def relevant_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that may change a kernel."""
    return {
        name: value for name, value in sorted(environ.items()) if name.startswith(_PREFIXES) and name not in _HARMLESS
    }


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
