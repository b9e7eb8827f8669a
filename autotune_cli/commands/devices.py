"""Which device a command runs on. NVML is asked, never CUDA, as the parent process must not touch a GPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Literal

from autotune_cli.errors import BadField, NoDevice, NoTorch

DeviceKind = Literal["cuda", "cpu"]

# Commands that install torch. PyPI has only the CUDA build for Linux; uv knows where PyTorch keeps its CPU build.
_TORCH: Mapping[DeviceKind, str] = {
    "cuda": "pip install 'kernel-autotune[cuda]'",
    "cpu": "uv pip install --torch-backend cpu 'kernel-autotune[cpu]' (pip install 'kernel-autotune[cpu]' works too, "
    "but brings 3 GB of CUDA on Linux)",
}


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[str]:
    """CUDA_VISIBLE_DEVICES entries of the GPUs this process may use, one each."""
    count = _nvml_count()
    restricted = environ.get("CUDA_VISIBLE_DEVICES")
    if count and restricted is not None:
        return [entry.strip() for entry in restricted.split(",") if entry.strip() and entry.strip() != "-1"]
    return [str(index) for index in range(count)]


def choose_device(device: str, gpus: str | None) -> tuple[DeviceKind, tuple[str | None, ...]]:
    """The device kind and, for each worker, its CUDA_VISIBLE_DEVICES.

    Args:
        device: ``auto``, ``cuda`` or ``cpu``.
        gpus: ``0,1``, ``all`` or None: the first.

    Raises:
        BadField: a malformed list.
        NoDevice: a GPU was asked for that isn't there.
    """
    if known_device(device) == "cpu":
        if gpus is not None:
            raise BadField(field="gpus", detail="makes no sense with --device cpu")
        return "cpu", (None,)
    found = visible_gpus()
    if not found:
        if device == "cuda" or gpus is not None:
            raise NoDevice(detail="no NVIDIA GPU on this machine; --device cpu tunes torch's CPU kernels")
        return "cpu", (None,)
    if gpus is None:
        return "cuda", (found[0],)
    if gpus == "all":
        return "cuda", tuple(found)
    return "cuda", tuple(found[index] for index in _indices(gpus, len(found)))


def known_device(device: str) -> str:
    """The name of a device as it is.

    Raises:
        BadField: it is none of ``auto``, ``cuda`` and ``cpu``.
    """
    if device not in ("auto", "cuda", "cpu"):
        raise BadField(field="device", detail=f"{device!r} is none of auto, cuda, cpu")
    return device


def require_torch(kind: DeviceKind) -> None:
    """Refuses before a worker is started, which could only fail. Torch is looked for and not imported.

    Raises:
        NoTorch: it is not installed.
    """
    found = None
    with contextlib.suppress(ImportError, ValueError):  # an import hook that forbids it; a module put in its place
        found = importlib.util.find_spec("torch")
    if found is None:
        raise NoTorch(fix=_TORCH[kind])


def gpu_memory(entry: str | None) -> int | None:
    """Bytes of a GPU's memory; None: there is no such GPU, or nobody tells.

    Args:
        entry: of CUDA_VISIBLE_DEVICES, an index or a UUID.
    """
    if entry is None:
        return None
    with contextlib.suppress(Exception):  # as in _nvml_count
        import pynvml

        pynvml.nvmlInit()
        by_index = entry.isdecimal()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(entry)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(entry)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return None


def _indices(text: str, count: int) -> list[int]:
    indices: list[int] = []
    for part in text.split(","):
        if not part.strip().isdecimal() or len(part) > 18:
            raise BadField(field="gpus", detail=f"{text!r} is neither 'all' nor numbers with commas between")
        index = int(part)
        if index >= count:
            raise NoDevice(detail=f"--gpus {text}: no GPU {index}, this machine has {count} (0 to {count - 1})")
        if index in indices:
            raise BadField(field="gpus", detail=f"GPU {index} is there twice")
        indices.append(index)
    return indices


def _nvml_count() -> int:
    with contextlib.suppress(Exception):  # no driver, no library, no permission: no GPU
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    return 0
