"""The job that a worker runs. Picklable; imports torch only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.profiling.live.records import LiveRun, PathSpec

if TYPE_CHECKING:
    from autotune_cli.worker.device import DeviceContext


@dataclass(frozen=True)
class RunPath:
    """Run and record a path."""

    spec: PathSpec
    folder: str
    """For the traces."""

    def __call__(self, context: DeviceContext) -> LiveRun:
        from autotune_cli.recording.run import run_path

        return run_path(self.spec, self.folder, context.device, context.phase)
