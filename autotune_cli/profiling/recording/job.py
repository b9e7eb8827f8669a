"""The job that a worker runs. Picklable; imports torch only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.recording.recorded import LiveRun

if TYPE_CHECKING:
    from autotune_cli.worker.device import DeviceContext


@dataclass(frozen=True)
class RecordPath:
    """Run and record a path."""

    spec: PathSpec
    folder: str
    """For the traces."""

    def __call__(self, context: DeviceContext) -> LiveRun:
        from autotune_cli.profiling.recording.run import record_path

        return record_path(self.spec, self.folder, context.device, context.phase)
