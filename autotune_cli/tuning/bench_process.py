"""The parent's side of a worker that vets and races candidates."""

from __future__ import annotations

from autotune_cli.tuning.building import build
from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.messages import ReadyToMeasure, ToBuild
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.worker.process import Worker


class BenchProcess(Worker):
    """Answers the jobs of :mod:`autotune_cli.tuning.jobs` with a bench."""

    program = "autotune_cli.tuning.worker"
    host = ""

    def start(self, end: float = float("inf")) -> ReadyToMeasure:
        ready = super().start(end)
        assert isinstance(ready, ReadyToMeasure)
        return ready

    @property
    def place(self) -> str | None:
        """UUID of the GPU; None: the processor, or no process has said yet."""
        return self.ready.card if isinstance(self.ready, ReadyToMeasure) else None

    def build(self, wanted: ToBuild, progress: TuneProgress, budget_s: float | None, timeout_s: float) -> Builds:
        """Compile modules; see :func:`autotune_cli.tuning.building.build`."""
        return build(wanted, self._settings, progress, self._stop, budget_s, timeout_s)
