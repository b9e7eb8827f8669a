"""A worker that has opened the device: the beginning of every program that measures or runs kernels.

This module is itself such a program, for jobs that need the device and nothing else, such as the recording of a path.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.worker.kernel_files import load_kernel_files
from autotune_cli.worker.protocol import NO_DEVICE_ERROR, Phase, Ready, Refusal, WorkerSettings
from autotune_cli.worker.serving import serve

if TYPE_CHECKING:
    from autotune_cli.kernels.registry import Device
    from autotune_cli.measure.conditions import Gpu
    from autotune_cli.results.schema import Environment


@dataclass(frozen=True)
class DeviceContext:
    """What jobs are called with."""

    device: Device
    phase: Phase


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


def open_device(settings: WorkerSettings, phase: Phase) -> tuple[Environment, Gpu | None]:
    """Load the users' files, import torch and look at the device.

    Returns:
        What this process runs on; and NVML's view of its GPU, None on a CPU.

    Raises:
        Refusal: a file can't be loaded, or there is no GPU.
    """
    load_kernel_files(settings.kernel_files, phase)
    phase("start", settings.device)

    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal(NO_DEVICE_ERROR, "torch sees no NVIDIA GPU")
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)

    from autotune_cli.measure.environment import collect

    phase("probe", settings.device)
    return collect(settings.device)


def _start(settings: WorkerSettings, phase: Phase) -> tuple[Ready, DeviceContext]:
    environment, gpu = open_device(settings, phase)

    from autotune_cli.measure.environment import device_of

    return Ready(environment, gpu.uuid if gpu else None), DeviceContext(device_of(environment), phase)
