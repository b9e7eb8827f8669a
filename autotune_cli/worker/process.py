"""The parent's side of a worker: ask, wait with a limit, kill, replace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from autotune_cli.errors import BadKernels, NoDevice, NoWorker
from autotune_cli.worker.child import Child
from autotune_cli.worker.exchange import Exchange, JobRaised
from autotune_cli.worker.failures import (
    OutOfTime,
    Stopped,
    WorkerDied,
    WorkerKilled,
    WorkerRaised,
    WorkerTimeout,
)
from autotune_cli.worker.protocol import (
    BUILD_PHASES,
    JUDGE_PHASE,
    KERNEL_FILE_ERROR,
    NO_DEVICE_ERROR,
    REFERENCE_PHASE,
    Job,
    WorkerSettings,
)

# torch and the CUDA context take 5 to 10 s on a busy machine.
START_TIMEOUT_S = 180.0
# Compiling a FlashInfer module takes minutes (top-k: 207 s on 16 cores); it is no hang.
BUILD_TIMEOUT_S = 1800.0
# Inputs of a case and the exact output: 64 x 32768 in float64 takes a minute on two cores.
REFERENCE_TIMEOUT_S = 900.0

_OWN_PHASES = (REFERENCE_PHASE, JUDGE_PHASE)


class Worker:
    """One worker process at a time; a dead one is replaced by the next :meth:`ask`.

    Args:
        gpu: CUDA_VISIBLE_DEVICES; None: the first GPU, or for the CPU none.
        stop: stop waiting.
        variables: of the process's environment, beside those of this one.
    """

    program = "autotune_cli.worker.device"
    """The module whose ``main`` the process runs."""
    tries = 2
    """How often a job is begun whose process is killed from outside."""

    def __init__(
        self,
        settings: WorkerSettings,
        gpu: str | None = None,
        stop: threading.Event | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._gpu = gpu
        self._stop = stop or threading.Event()
        self._variables = variables or {}
        self._child: Child | None = None
        self._job_log = 0
        self.starts = 0
        self.ready: Any = None
        """The process's greeting; None: there is no process, or it isn't up yet."""
        self.phase: tuple[str, str] = ("", "")

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        return None if self._child is None else self._child.pid

    def start(self, end: float = float("inf")) -> Any:
        """Start the process, unless it runs; a second time if it is killed from outside.

        Args:
            end: by ``time.monotonic()``, when the caller has no more time.

        Returns:
            Its greeting: :class:`autotune_cli.worker.protocol.Ready`, or what another ``program`` says.

        Raises:
            NoWorker: it doesn't come up.
            NoDevice: it sees no GPU.
            BadKernels: a user's kernel file can't be loaded.
            OutOfTime: at ``end``.
            Stopped: ``stop`` was set, or another thread has called :meth:`kill`.
        """
        if self._child is not None and self.ready is not None:
            return self.ready
        try:
            self.ready = self._again_if_killed(lambda: self._start(end))
        except (WorkerDied, WorkerTimeout) as error:
            if isinstance(error, OutOfTime):
                raise
            if self.phase[0] == "load":
                what = "takes too long" if isinstance(error, WorkerTimeout) else "ends the process"
                raise BadKernels(path=self.phase[1], detail=f"loading it {what}: {error}") from error
            raise NoWorker(detail=str(error)) from error
        except JobRaised as error:
            if error.kind == KERNEL_FILE_ERROR:
                raise BadKernels(path=self.phase[1], detail=error.message) from error
            if error.kind == NO_DEVICE_ERROR:
                raise NoDevice(detail=f"no GPU: {error.message}") from error
            raise NoWorker(detail=f"{error.kind}: {error.message}") from error
        return self.ready

    def ask(
        self,
        job: Job,
        timeout_s: float,
        on_phase: Callable[[str, str], None] | None = None,
        build_timeout_s: float = BUILD_TIMEOUT_S,
        end: float = float("inf"),
    ) -> Any:
        """Run a job; the limit starts anew with every phase the worker reports; builds and references have their own.
        A job that is an iterator comes back as a list.

        A job whose process is killed from outside is begun once more in a fresh process.

        Args:
            end: by ``time.monotonic()``, when the caller has no more time, whatever the limits.

        Raises:
            WorkerDied, WorkerKilled, WorkerTimeout, OutOfTime, Stopped: the process is gone, and the next call starts
                another; see :mod:`autotune_cli.worker.failures`.
            WorkerRaised: the job raised; the process lives.
            NoWorker, NoDevice, BadKernels: see :meth:`start`.
        """

        def once() -> Any:
            child = self._child
            if child is not None and (child.has_ended() or self._is_spoilt(child)):
                # What went wrong before this job says nothing of it.
                self.kill()
            self.start(end)
            self.phase = ("", "")
            self._job_log = self._running().printed()
            self._send(job, time.monotonic() + timeout_s, end)
            return self._wait(timeout_s, on_phase, build_timeout_s, end)

        try:
            return self._again_if_killed(once)
        except JobRaised as error:
            raise WorkerRaised(f"{error.kind}: {error.message}\n{error.trace}") from error

    def kill(self) -> None:
        """End the process and what it started: compilers, daemons. Any thread may; one that waits for an answer then
        gets :class:`Stopped`.
        """
        child, self._child, self.ready = self._child, None, None
        if child is not None:
            child.end()

    def _running(self) -> Child:
        """The process.

        Raises:
            Stopped: another thread has killed it.
        """
        if self._child is None:
            raise Stopped
        return self._child

    def _again_if_killed(self, attempt: Callable[[], Any]) -> Any:
        """The process doesn't outlive what is raised, unless the job itself raised it and can be followed by others."""
        for left in reversed(range(self.tries)):
            try:
                return attempt()
            except WorkerKilled as error:
                self.kill()
                if self.tries == 1:
                    raise
                if not left:
                    # The hint stays at the end of the words.
                    what, hint, rest = str(error).partition(" (")
                    raise WorkerKilled(f"{what} twice{hint}{rest}") from error
            except JobRaised:
                if self.ready is None:
                    self.kill()
                raise
            except BaseException:
                self.kill()
                raise
        raise AssertionError("tries is at least 1")

    def _start(self, end: float) -> Any:
        self._spawn()
        self._send(self._settings, time.monotonic() + START_TIMEOUT_S, end)
        return self._wait(START_TIMEOUT_S, None, BUILD_TIMEOUT_S, end)

    def _spawn(self) -> None:
        visible = {} if self._gpu is None else {"CUDA_VISIBLE_DEVICES": self._gpu}
        if self._gpu is None and self._settings.device == "cpu":
            visible = {"CUDA_VISIBLE_DEVICES": ""}
        self._child = Child(self.program, {**self._variables, **visible}, self._settings.kernel_files)
        self._job_log = 0
        self.starts += 1
        self.phase = ("", "")

    def _send(self, message: Any, limit: float, end: float) -> None:
        self._exchange(end).send(message, limit)

    def _wait(
        self, timeout_s: float, on_phase: Callable[[str, str], None] | None, build_timeout_s: float, end: float
    ) -> Any:
        limits = dict.fromkeys(BUILD_PHASES, build_timeout_s) | dict.fromkeys(_OWN_PHASES, REFERENCE_TIMEOUT_S)

        def began(name: str, subject: str) -> None:
            self.phase = (name, subject)
            if on_phase is not None:
                on_phase(name, subject)

        return self._exchange(end).answer(lambda name: limits.get(name, timeout_s), began)

    def _exchange(self, end: float) -> Exchange:
        return Exchange(self._running(), self._stop, end, self._job_log)

    def _is_spoilt(self, child: Child) -> bool:
        """Has an idle process said something, though it was asked nothing?"""
        return self.ready is not None and (child.look(0.0) or not child.reader.is_quiet)
