"""The parent's side of a worker that vets and races candidates."""

from __future__ import annotations

from autotune_cli.tuning.messages import ReadyToMeasure
from autotune_cli.worker.process import Worker


class BenchProcess(Worker):
    """Answers the jobs of :mod:`autotune_cli.tuning.jobs` with a bench."""

    program = "autotune_cli.tuning.worker"

    def start(self, end: float = float("inf")) -> ReadyToMeasure:
        ready = super().start(end)
        assert isinstance(ready, ReadyToMeasure)
        return ready
