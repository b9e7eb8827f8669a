"""The parent's side of a worker process: start, ask, wait with a limit, kill, replace."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from autotune_cli.errors import BadKernels, NoDevice, NoWorker
from autotune_cli.tuning.jobs import Job, Ready, WorkerSettings
from autotune_cli.tuning.worker import KERNEL_FILE_ERROR, NO_DEVICE_ERROR

# torch, the CUDA context and the probe take 5 to 10 s on a busy machine.
START_TIMEOUT_S = 180.0
# Compiling a FlashInfer module takes minutes (top-k: 207 s on 16 cores); it is no hang.
BUILD_TIMEOUT_S = 1800.0
_LOG_TAIL = 4000


class WorkerDied(Exception):
    """The process ended by itself: a crash, an exit, a kill."""


class WorkerTimeout(Exception):
    """The process was killed because it didn't answer in time."""


class WorkerRaised(Exception):
    """The job raised: a fault of this program, not of a candidate."""


class Worker:
    """One worker process at a time; a dead one is replaced by the next :meth:`ask`."""

    def __init__(self, settings: WorkerSettings, gpu: str | None = None) -> None:
        self._settings = settings
        self._gpu = gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._log: Any = None
        self.starts = 0
        self.ready: Ready | None = None
        self.phase: tuple[str, str] = ("", "")

    def start(self) -> Ready:
        """Start the process, unless it runs.

        Raises:
            NoWorker: it doesn't come up.
            NoDevice: it sees no GPU.
            BadKernels: a user's kernel file can't be loaded.
        """
        if self._process is not None and self.ready is not None:
            return self.ready
        self._spawn()
        assert self._connection is not None
        self._connection.send(self._settings)
        try:
            answer = self._wait(START_TIMEOUT_S, None)
        except (WorkerDied, WorkerTimeout) as error:
            self.kill()
            if self._settings.kernel_files and self.phase == ("", ""):
                raise BadKernels(
                    path=", ".join(self._settings.kernel_files), detail=f"loading it ends the process: {error}"
                ) from error
            raise NoWorker(detail=str(error)) from error
        except _Raised as error:
            self.kill()
            if error.kind == KERNEL_FILE_ERROR:
                raise BadKernels(path=", ".join(self._settings.kernel_files), detail=error.message) from error
            if error.kind == NO_DEVICE_ERROR:
                raise NoDevice(detail=f"no GPU: {error.message}") from error
            raise NoWorker(detail=f"{error.kind}: {error.message}") from error
        assert isinstance(answer, Ready)
        self.ready = answer
        return answer

    def ask(
        self,
        job: Job,
        timeout_s: float,
        on_phase: Callable[[str, str], None] | None = None,
        build_timeout_s: float = BUILD_TIMEOUT_S,
    ) -> Any:
        """Run a job; the limit starts anew with every phase the worker reports, and builds have their own.

        Raises:
            WorkerDied, WorkerTimeout, WorkerRaised: the process is gone, and the next call starts another.
        """
        self.start()
        assert self._connection is not None
        self.phase = ("", "")
        try:
            self._connection.send(job)
            return self._wait(timeout_s, on_phase, build_timeout_s)
        except _Raised as error:
            raise WorkerRaised(f"{error.kind}: {error.message}\n{error.trace}") from error
        except (WorkerDied, WorkerTimeout):
            self.kill()
            raise
        except OSError as error:
            reason = self._epitaph()
            self.kill()
            raise WorkerDied(reason) from error

    def interrupt(self) -> None:
        """Kill the process from another thread; the one that waits for an answer sees :class:`WorkerDied`."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the process and what it started (compilers)."""
        self.interrupt()
        process, self._process, self.ready = self._process, None, None
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None
        if process is not None:
            process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        if self._gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpu
        elif self._settings.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        # Candidates and compilers print what they like; it must not tear the table. The tail explains a crash.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autotune_cli.tuning.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=environment,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self.starts += 1
        self.phase = ("", "")

    def _wait(
        self, timeout_s: float, on_phase: Callable[[str, str], None] | None, build_timeout_s: float = BUILD_TIMEOUT_S
    ) -> Any:
        deadline = time.monotonic() + timeout_s
        limit = timeout_s
        while True:
            assert self._connection is not None
            try:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise WorkerTimeout(f"no answer within {limit:g} s{self._where()}")
                message = self._connection.recv()
            except (EOFError, ConnectionError):
                raise WorkerDied(self._epitaph()) from None
            if message[0] == "phase":
                self.phase = (message[1], message[2])
                limit = build_timeout_s if message[1] == "build" else timeout_s
                deadline = time.monotonic() + limit
                if on_phase is not None:
                    on_phase(*self.phase)
            elif message[0] == "raised":
                raise _Raised(*message[1:])
            else:
                return message[1]

    def _where(self) -> str:
        """Where in Python the worker hangs, as it tells on SIGUSR1."""
        if self._process is None:
            return ""
        before = self._log_size()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        for _ in range(20):
            time.sleep(0.05)
            if self._log_size() > before:
                time.sleep(0.05)
                break
        lines = [line.strip() for line in self._tail().splitlines() if line.strip().startswith("File ")]
        return f", in {lines[0]}" if lines else ""

    def _epitaph(self) -> str:
        """Why the process ended."""
        if self._process is None:
            return "killed"
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        if code >= 0:
            reason = f"exited with code {code}"
        else:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = str(-code)
            reason = f"killed by {name}"
            if name == "SIGKILL":
                reason += " (out of host memory?)"
        lines = [line.strip() for line in self._tail().splitlines() if line.strip()]
        files = [line for line in lines if line.startswith("File ") and "autotune_cli/tuning" not in line]
        if files:
            reason += f", in {files[0]}"
        elif lines and code > 0:
            reason += f": {lines[-1][:200]}"
        return reason

    def _log_size(self) -> int:
        return 0 if self._log is None else os.fstat(self._log.fileno()).st_size

    def _tail(self) -> str:
        if self._log is None:
            return ""
        size = self._log_size()
        return os.pread(self._log.fileno(), _LOG_TAIL, max(0, size - _LOG_TAIL)).decode(errors="replace")


class _Raised(Exception):
    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = trace
