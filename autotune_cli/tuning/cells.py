"""What came of a check, as it is printed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.kernels.registry import Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import FAILED, Status
from autotune_cli.tuning.messages import Checked


@dataclass(frozen=True)
class Cell:
    """What came of one candidate on one case of one workload."""

    workload: AnyWorkload
    case: str
    candidate: Candidate
    checked: Checked
    fix: str | None = None
    """The command that installs what it lacks."""

    @property
    def status(self) -> Status:
        return self.checked.status

    @property
    def is_wrong(self) -> bool:
        return self.status in FAILED
