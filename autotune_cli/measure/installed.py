"""What is installed and set on this machine, as far as it can be told without importing torch."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from autotune_cli.kernels.libraries import LIBRARIES

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


def installed_versions() -> dict[str, str]:
    """Version of each kernel library, as its package says. Of torch it lacks the build; see :mod:`.environment`."""
    versions = {}
    for library in LIBRARIES:
        found = (installed_version(distribution) for distribution in library.distributions)
        version = next((version for version in found if version is not None), None)
        if version is not None or library.always:
            versions[library.name] = version or NOT_INSTALLED
    return versions


def installed_version(distribution: str) -> str | None:
    """Version of a package; None: it isn't installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def relevant_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that may change a kernel."""
    return {
        name: value for name, value in sorted(environ.items()) if name.startswith(_PREFIXES) and name not in _HARMLESS
    }
