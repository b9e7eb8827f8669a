"""The job that a worker runs. Picklable; imports torch only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.profiling.live.records import LiveRun, PathSpec

if TYPE_CHECKING:
    from autotune_cli.tuning.bench import Bench


@dataclass(frozen=True)
class RunPath:
    """Run and record a path."""

    spec: PathSpec
    folder: str
    """For the traces."""

    def __call__(self, bench: Bench) -> LiveRun:
        from autotune_cli.recording.run import run_path

        return run_path(self.spec, self.folder, bench.device, bench.phase)
