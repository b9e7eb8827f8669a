"""The worker process of ``autotune tune``: serves jobs with a bench, see :mod:`autotune_cli.tuning.bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune_cli.tuning.messages import ReadyToMeasure
from autotune_cli.worker.device import open_device
from autotune_cli.worker.protocol import ReportPhase, WorkerSettings
from autotune_cli.worker.serving import serve

if TYPE_CHECKING:
    from autotune_cli.tuning.bench import Bench


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


def _start(settings: WorkerSettings, phase: ReportPhase) -> tuple[ReadyToMeasure, Bench]:
    environment, gpu = open_device(settings, phase)

    from autotune_cli.measure.timers import default_timer, make_timer
    from autotune_cli.tuning.bench import Bench

    timer = make_timer(settings.timer or default_timer(settings.device), settings.device, settings.l2)
    ready = ReadyToMeasure(environment, gpu.uuid if gpu else None, timer.name, timer.l2)
    return ready, Bench(environment, gpu, timer, settings.seed, phase, settings.flashinfer_choices)
