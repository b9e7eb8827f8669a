"""The worker process of ``autotune tune`` and ``autotune kernels``: serves jobs with a bench."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from autotune_cli.worker.channel import WorkerChannel
from autotune_cli.worker.kernel_files import load_kernel_files
from autotune_cli.worker.protocol import NO_DEVICE_ERROR, Ready, Refusal, WorkerSettings
from autotune_cli.worker.serving import serve

if TYPE_CHECKING:
    from autotune_cli.tuning.bench import Bench


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


def _start(settings: WorkerSettings, channel: WorkerChannel) -> Bench:
    load_kernel_files(settings, channel)
    channel.send(("phase", "start", settings.device))

    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal(NO_DEVICE_ERROR, "torch sees no NVIDIA GPU")
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)

    from autotune_cli.measure.environment import collect
    from autotune_cli.measure.timers import default_timer, make_timer
    from autotune_cli.tuning.bench import Bench

    channel.send(("phase", "probe", settings.device))
    timer = make_timer(settings.timer or default_timer(settings.device), settings.device, settings.l2)
    environment, gpu = collect(settings.device)
    bench = Bench(environment, gpu, timer, settings.seed, lambda name, subject: channel.send(("phase", name, subject)))
    channel.send(("result", Ready(environment, timer.name, timer.l2, gpu.uuid if gpu else None)))
    return bench
