"""What vets and races candidates, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.messages import ReadyToMeasure, ToBuild
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.worker.process import BUILD_TIMEOUT_S
from autotune_cli.worker.protocol import Job


class Measurer(Protocol):
    """A worker process, of this machine (:class:`autotune_cli.tuning.bench_process.BenchProcess`) or of a cluster's
    node (:class:`autotune_cli.tuning.cluster.remote.RemoteBench`). Its methods fail as
    :class:`autotune_cli.worker.process.Worker` says; one of a cluster also with
    :class:`autotune_cli.worker.failures.WorkerLost`, after which it is of no more use.
    """

    starts: int
    """Processes that were started so far."""
    phase: tuple[str, str]
    """The last one that the process has reported, and its subject."""

    @property
    def host(self) -> str:
        """The machine, whose compiled modules all its workers share; empty: this one."""

    @property
    def place(self) -> str | None:
        """The card, or the machine where it computes on its processor: a race stays at one. None: there is but one."""

    def start(self, end: float = float("inf")) -> ReadyToMeasure:
        """Start the process, unless it runs."""

    def ask(
        self,
        job: Job,
        timeout_s: float,
        on_phase: Callable[[str, str], None] | None = None,
        build_timeout_s: float = BUILD_TIMEOUT_S,
        end: float = float("inf"),
    ) -> Any:
        """Run a job."""

    def build(self, wanted: ToBuild, progress: TuneProgress, budget_s: float | None, timeout_s: float) -> Builds:
        """Compile modules on the worker's machine; see :func:`autotune_cli.tuning.building.build`."""

    def kill(self) -> None:
        """End the process; the next call starts another."""
