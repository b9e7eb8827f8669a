"""The job that a worker runs. Picklable; imports torch only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.recording.recorded import LiveRun

if TYPE_CHECKING:
    from autotune_cli.tuning.bench import Bench


@dataclass(frozen=True)
class RecordPath:
    """Run and record a path."""

    spec: PathSpec
    folder: str
    """For the traces."""

    def __call__(self, bench: Bench) -> LiveRun:
        from autotune_cli.profiling.recording.run import record_path

        return record_path(self.spec, self.folder, bench.device, bench.phase)
