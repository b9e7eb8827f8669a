"""The parent's side of a worker process: start, ask, wait with a limit, kill, replace."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import autotune_cli
from autotune_cli.errors import BadKernels, NoDevice, NoWorker
from autotune_cli.tuning.descendants import end_session
from autotune_cli.tuning.jobs import Job, Ready, ReadyToBuild, WorkerSettings
from autotune_cli.tuning.temporary import temporary_folder, temporary_variables
from autotune_cli.tuning.worker import KERNEL_FILE_ERROR, NO_DEVICE_ERROR

# torch and the CUDA context take 5 to 10 s on a busy machine.
START_TIMEOUT_S = 180.0
# Compiling a FlashInfer module takes minutes (top-k: 207 s on 16 cores); it is no hang.
BUILD_TIMEOUT_S = 1800.0
# How often the parent looks up while it waits: is the process alive, does the user want to stop?
_GLANCE_S = 0.1
_LOG_TAIL = 4000
# How the reason begins when nobody but the kernel is likely to have done it.
KILLED = "killed by SIGKILL"
# -P and this instead of -m: a file in the current folder that is called like a module (queue.py) must not be imported.
# Where the package itself lies comes last, so that nothing beside it hides an installed module.
_BOOT = "import importlib, sys; sys.path.append(sys.argv[3]); importlib.import_module(sys.argv[4]).main()"
# Phases in which something may be compiled. Modules are there already, but that is for the library to find out.
BUILD_PHASES = ("build", "modules")

# Frames that every candidate is called from.
_OWN_FRAMES = ("autotune_cli/tuning/", "autotune_cli/measure/", 'File "<string>"')
_PACKAGE_ROOT = str(Path(autotune_cli.__file__).parent.parent)


class WorkerDied(Exception):
    """The process ended by itself: a crash, an exit, a kill."""


class WorkerTimeout(Exception):
    """The process was killed because it didn't answer in time."""


class WorkerRaised(Exception):
    """The job raised: a fault of this program, not of a candidate."""


class Stopped(Exception):
    """The user wants to stop; the process was killed."""


class Worker:
    """One worker process at a time; a dead one is replaced by the next :meth:`ask`. ``stop``: stop waiting."""

    program = "autotune_cli.tuning.worker"
    """The module whose ``main`` the process runs."""

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
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._log: Any = None
        self._job_log = 0
        self.starts = 0
        self.ready: Ready | ReadyToBuild | None = None
        self.phase: tuple[str, str] = ("", "")

    def start(self) -> Ready:
        """Start the process that measures, unless it runs; for the rest see :meth:`bring_up`."""
        ready = self.bring_up()
        assert isinstance(ready, Ready)
        return ready

    def bring_up(self) -> Ready | ReadyToBuild:
        """Start the process, unless it runs.

        Raises:
            NoWorker: it doesn't come up.
            NoDevice: it sees no GPU.
            BadKernels: a user's kernel file can't be loaded.
            Stopped: see the class.
        """
        if self._process is not None and self.ready is not None:
            return self.ready
        self._spawn()
        assert self._connection is not None
        try:
            self._connection.send(self._settings)
            answer = self._wait(START_TIMEOUT_S, None)
        except Stopped:
            self.kill()
            raise
        except (WorkerDied, WorkerTimeout, OSError) as error:
            reason = self._epitaph() if isinstance(error, OSError) else str(error)
            self.kill()
            if self.phase[0] == "load":
                what = "takes too long" if isinstance(error, WorkerTimeout) else "ends the process"
                raise BadKernels(path=self.phase[1], detail=f"loading it {what}: {reason}") from error
            raise NoWorker(detail=reason) from error
        except _Raised as error:
            self.kill()
            if error.kind == KERNEL_FILE_ERROR:
                raise BadKernels(path=self.phase[1], detail=error.message) from error
            if error.kind == NO_DEVICE_ERROR:
                raise NoDevice(detail=f"no GPU: {error.message}") from error
            raise NoWorker(detail=f"{error.kind}: {error.message}") from error
        assert isinstance(answer, Ready | ReadyToBuild)
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
            WorkerDied, WorkerTimeout, Stopped: the process is gone, and the next call starts another.
            WorkerRaised: see the class.
        """
        self.bring_up()
        assert self._connection is not None
        self.phase = ("", "")
        self._job_log = self._log_size()
        try:
            self._connection.send(job)
            return self._wait(timeout_s, on_phase, build_timeout_s)
        except _Raised as error:
            raise WorkerRaised(f"{error.kind}: {error.message}\n{error.trace}") from error
        except (WorkerDied, WorkerTimeout, Stopped):
            self.kill()
            raise
        except OSError as error:
            reason = self._epitaph()
            self.kill()
            raise WorkerDied(reason) from error

    def kill(self) -> None:
        """End the process and what it started (compilers)."""
        process, self._process, self.ready = self._process, None, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # Before it is waited for: until then nobody else gets its number.
            end_session(process.pid)
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
        environment = {**os.environ, **temporary_variables(), **self._variables}
        if self._gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpu
        elif self._settings.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        # Candidates and compilers print what they like; it must not tear the table. The tail explains a crash.
        self._log = tempfile.TemporaryFile(dir=temporary_folder())  # noqa: SIM115 (lives as long as the process)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    _BOOT,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    _PACKAGE_ROOT,
                    self.program,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=environment,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._job_log = 0
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
                if not self._arrives(deadline):
                    raise WorkerTimeout(f"no answer within {limit:g} s{self._where()}")
                message = self._connection.recv()
            except (EOFError, ConnectionError):
                raise WorkerDied(self._epitaph()) from None
            if message[0] == "phase":
                self.phase = (message[1], message[2])
                limit = build_timeout_s if message[1] in BUILD_PHASES else timeout_s
                deadline = time.monotonic() + limit
                if on_phase is not None:
                    on_phase(*self.phase)
            elif message[0] == "raised":
                raise _Raised(*message[1:])
            else:
                return message[1]

    def _arrives(self, deadline: float) -> bool:
        """Is there a message before the deadline?"""
        connection, process = self._connection, self._process
        assert connection is not None
        assert process is not None
        while not connection.poll(max(0.0, min(_GLANCE_S, deadline - time.monotonic()))):
            if self._stop.is_set():
                raise Stopped
            # What a candidate forked may hold the connection open after the process's end.
            if process.poll() is not None and not connection.poll():
                raise WorkerDied(self._epitaph())
            if time.monotonic() >= deadline:
                return False
        return True

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
        return self._place(self._tail(before))

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
            if reason == KILLED:
                reason += " (out of host memory?)"
        # What candidates before this job printed explains nothing.
        lines = [line.strip() for line in self._tail(self._job_log).splitlines() if line.strip()]
        place = self._place("\n".join(lines))
        if place:
            reason += place
        elif lines and code > 0:
            reason += f": {lines[-1][:200]}"
        return reason

    def _place(self, log: str) -> str:
        """Where faulthandler says the worker was: in the user's file if that is on the stack, else innermost."""
        lines = [line.strip() for line in log.splitlines()]
        frames = [line for line in lines if line.startswith('File "') and not any(own in line for own in _OWN_FRAMES)]
        users = [line for line in frames if any(f'"{path}"' in line for path in self._settings.kernel_files)]
        return next((f", in {frame}" for frame in (*users, *frames)), "")

    def _log_size(self) -> int:
        return 0 if self._log is None else os.fstat(self._log.fileno()).st_size

    def _tail(self, begin: int = 0) -> str:
        if self._log is None:
            return ""
        begin = max(begin, self._log_size() - _LOG_TAIL)
        return os.pread(self._log.fileno(), _LOG_TAIL, begin).decode(errors="replace")


class _Raised(Exception):
    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = trace
