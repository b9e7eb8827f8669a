"""A worker on a node of a cluster, as the run sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from autotune_cli.errors import NoDevice, NoWorker
from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.cluster.calls import About, AskCall, BuildCall, BuildsEvent, Call, PhaseEvent, StartCall
from autotune_cli.tuning.messages import ReadyToMeasure, ToBuild
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.worker.failures import Stopped, WorkerLost
from autotune_cli.worker.process import BUILD_TIMEOUT_S
from autotune_cli.worker.protocol import Job

# How long a host waits for something to happen before it says that nothing has: as often a run looks up.
_WAIT_S = 0.2


class Seat(Protocol):
    """A place for a worker on a node of a cluster: a GPU, or the node's processors."""

    @property
    def node(self) -> str:
        """The node's name, which no other one of the cluster has."""

    def open(self) -> About:
        """Take the place and start a :class:`autotune_cli.tuning.cluster.host.Host` there.

        Returns:
            The program on the node.

        Raises:
            OtherProgram: the node has none.
            WorkerLost: the place doesn't become free, or the node is gone.
            Stopped: the user wants to stop.
        """

    def call(self, name: str, *arguments: object) -> Any:
        """Call a method of the host, again if the question or the answer was lost on the way.

        Raises:
            WorkerLost: the node is gone.
            Stopped: the user wants to stop.
        """


class RemoteBench:
    """Does what :class:`autotune_cli.tuning.bench_process.BenchProcess` does, on a node; see
    :class:`autotune_cli.tuning.measurer.Measurer`.
    """

    def __init__(self, seat: Seat, stop: threading.Event) -> None:
        self._seat = seat
        self._stop = stop
        self._number = 0
        self._ready: ReadyToMeasure | None = None
        self._lost: str | None = None
        self.starts = 0
        self.phase: tuple[str, str] = ("", "")

    @property
    def host(self) -> str:
        return self._seat.node

    @property
    def place(self) -> str | None:
        card = None if self._ready is None else self._ready.card
        return card or self._seat.node

    def start(self, end: float = float("inf")) -> ReadyToMeasure:
        ready = self._call(StartCall(end - time.monotonic()))
        assert isinstance(ready, ReadyToMeasure)
        self._ready = ready
        return ready

    def ask(
        self,
        job: Job,
        timeout_s: float,
        on_phase: Callable[[str, str], None] | None = None,
        build_timeout_s: float = BUILD_TIMEOUT_S,
        end: float = float("inf"),
    ) -> Any:
        return self._call(AskCall(job, timeout_s, build_timeout_s, end - time.monotonic()), on_phase=on_phase)

    def build(self, wanted: ToBuild, progress: TuneProgress, budget_s: float | None, timeout_s: float) -> Builds:
        if not wanted.modules:
            return Builds(wanted.needs)
        builds = self._call(BuildCall(wanted, budget_s, timeout_s), progress=progress)
        assert isinstance(builds, Builds)
        return builds

    def kill(self) -> None:
        self._to_host("kill")

    def _call(
        self, call: Call, on_phase: Callable[[str, str], None] | None = None, progress: TuneProgress | None = None
    ) -> Any:
        self.phase = ("", "")
        self._number += 1
        self._to_host("begin", self._number, call)
        seen = 0
        while True:
            for event in self._to_host("events", self._number, seen, _WAIT_S):
                seen += 1
                if isinstance(event, PhaseEvent):
                    self.phase = (event.name, event.subject)
                    if on_phase is not None:
                        on_phase(*self.phase)
                elif isinstance(event, BuildsEvent):
                    if progress is not None:
                        now = time.monotonic()
                        running = {title: now - spent for title, spent in event.state.running.items()}
                        progress.builds(replace(event.state, running=running))
                else:
                    self.starts, self.phase = event.starts, event.phase
                    if event.error is not None:
                        raise self._failure(event.error)
                    return event.value

    def _to_host(self, name: str, *arguments: object) -> Any:
        if self._lost is not None:
            raise WorkerLost(self._lost)
        if self._stop.is_set():
            raise Stopped
        try:
            return self._seat.call(name, *arguments)
        except WorkerLost as error:
            self._lost = str(error)
            raise

    def _failure(self, error: BaseException) -> BaseException:
        """A worker that was there and can't be started again is lost: another node may do its work."""
        if self._ready is None or not isinstance(error, NoDevice | NoWorker):
            return error
        self._lost = f"{self._seat.node} was lost: {error}"
        return WorkerLost(self._lost)
