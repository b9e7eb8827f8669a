"""The parent's side of a worker process: start, ask, wait with a limit, kill, replace."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import autotune_cli
from autotune_cli.errors import BadKernels, NoDevice, NoWorker
from autotune_cli.worker.channel import EXIT_LOST, KEY_BYTES, Reader, Spoilt, Writer
from autotune_cli.worker.descendants import MARK, end_descendants
from autotune_cli.worker.log import WorkerLog
from autotune_cli.worker.protocol import (
    BUILD_PHASES,
    JUDGE_PHASE,
    KERNEL_FILE_ERROR,
    NO_DEVICE_ERROR,
    REFERENCE_PHASE,
    Job,
    Ready,
    ReadyToBuild,
    WorkerSettings,
)
from autotune_cli.worker.temporary import temporary_variables

# torch and the CUDA context take 5 to 10 s on a busy machine.
START_TIMEOUT_S = 180.0
# Compiling a FlashInfer module takes minutes (top-k: 207 s on 16 cores); it is no hang.
BUILD_TIMEOUT_S = 1800.0
# Inputs of a case and the exact output: 64 x 32768 in float64 takes a minute on two cores.
REFERENCE_TIMEOUT_S = 900.0
# How often the parent looks up while it waits: is the process alive, does the user want to stop?
_GLANCE_S = 0.1
_READ_BYTES = 1 << 18
# Nobody but a person, a scheduler or the kernel (for lack of memory) sends these; what a fault of code sends is not
# among them: SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS.
_FROM_OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU}
)
# -P and this instead of -m: a file in the current folder that is called like a module (queue.py) must not be imported.
# Where the package itself lies comes last, so that nothing beside it hides an installed module.
_BOOT = "import importlib, sys; sys.path.append(sys.argv[3]); importlib.import_module(sys.argv[4]).main()"
_OWN_PHASES = (REFERENCE_PHASE, JUDGE_PHASE)

# What torch's profiler prints whenever it begins or ends.
_PROFILER_LINES = "USDT:"
# Frames that every candidate is called from.
_OWN_FRAMES = ("autotune_cli/worker/", "autotune_cli/tuning/", "autotune_cli/measure/", 'File "<string>"')
_PACKAGE_ROOT = str(Path(autotune_cli.__file__).parent.parent)


class WorkerDied(Exception):
    """The process ended by itself (a crash, an exit), or can't be talked to any more."""


class WorkerKilled(WorkerDied):
    """Somebody else ended the process. It says nothing of the job, which was tried again if the message says twice."""


class WorkerTimeout(Exception):
    """The process was killed because it didn't answer in time."""


class OutOfTime(WorkerTimeout):
    """The process was killed because the caller's time was over. It says nothing of the job."""


class WorkerRaised(Exception):
    """The job raised: a fault of this program, not of a candidate."""


class Stopped(Exception):
    """The user wants to stop; the process was killed."""


class Worker:
    """One worker process at a time; a dead one is replaced by the next :meth:`ask`. ``stop``: stop waiting."""

    program = "autotune_cli.tuning.worker"
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
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._writer = Writer(b"", "parent")
        self._reader = Reader(b"", "worker")
        self._is_closed = False
        self._mark = ""
        self._log: WorkerLog | None = None
        self._job_log = 0
        self.starts = 0
        self.ready: Ready | ReadyToBuild | None = None
        self.phase: tuple[str, str] = ("", "")

    def start(self, end: float = float("inf")) -> Ready:
        """Start the process that measures, unless it runs; for the rest see :meth:`bring_up`."""
        ready = self.bring_up(end)
        assert isinstance(ready, Ready)
        return ready

    def bring_up(self, end: float = float("inf")) -> Ready | ReadyToBuild:
        """Start the process, unless it runs; a second time if it is killed from outside.

        Args:
            end: by ``time.monotonic()``, when the caller has no more time.

        Raises:
            NoWorker: it doesn't come up.
            NoDevice: it sees no GPU.
            BadKernels: a user's kernel file can't be loaded.
            OutOfTime: at ``end``.
            Stopped: see the class.
        """
        if self._process is not None and self.ready is not None:
            return self.ready
        try:
            self.ready = self._again_if_killed(lambda: self._bring_up(end))
        except (WorkerDied, WorkerTimeout) as error:
            if isinstance(error, OutOfTime):
                raise
            if self.phase[0] == "load":
                what = "takes too long" if isinstance(error, WorkerTimeout) else "ends the process"
                raise BadKernels(path=self.phase[1], detail=f"loading it {what}: {error}") from error
            raise NoWorker(detail=str(error)) from error
        except _Raised as error:
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
                another.
            WorkerRaised: see the class.
        """

        def once() -> Any:
            if self._process is not None and (self._process.poll() is not None or self._is_spoilt()):
                # What went wrong before this job says nothing of it.
                self.kill()
            self.bring_up(end)
            self.phase = ("", "")
            self._job_log = self._log.size() if self._log is not None else 0
            self._send(job, time.monotonic() + timeout_s, end)
            return self._wait(timeout_s, on_phase, build_timeout_s, end)

        try:
            return self._again_if_killed(once)
        except _Raised as error:
            raise WorkerRaised(f"{error.kind}: {error.message}\n{error.trace}") from error

    def kill(self) -> None:
        """End the process and what it started: compilers, daemons."""
        process, self._process, self.ready = self._process, None, None
        if process is not None:
            # Its descendants first, as those that have left its session are known by their parents; all of it before
            # it is waited for: until then nobody else gets its number.
            end_descendants(process.pid, self._mark)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is not None:
            process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

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
            except _Raised:
                if self.ready is None:
                    self.kill()
                raise
            except BaseException:
                self.kill()
                raise
        raise AssertionError("tries is at least 1")

    def _bring_up(self, end: float) -> Ready | ReadyToBuild:
        self._spawn()
        limit = time.monotonic() + START_TIMEOUT_S
        self._send(self._settings, limit, end)
        answer = self._wait(START_TIMEOUT_S, None, BUILD_TIMEOUT_S, end)
        assert isinstance(answer, Ready | ReadyToBuild)
        return answer

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        key = secrets.token_bytes(KEY_BYTES)
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        environment = {**os.environ, **temporary_variables(), **self._variables, MARK: self._mark}
        if self._gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpu
        elif self._settings.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        # Candidates and compilers print what they like; it must not tear the table. The tail explains a crash.
        self._log = WorkerLog()
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
                stdout=self._log.writer,
                stderr=self._log.writer,
                env=environment,
                start_new_session=True,
            )
        self._log.started()
        ours.sendall(key)
        ours.setblocking(False)
        self._socket = ours
        self._writer, self._reader = Writer(key, "parent"), Reader(key, "worker")
        self._is_closed = False
        self._job_log = 0
        self.starts += 1
        self.phase = ("", "")

    def _send(self, message: Any, limit: float, end: float) -> None:
        """Send a message; a process that doesn't read it has the time until ``limit``."""
        data = memoryview(self._writer.pack(message))
        while data:
            self._look(min(limit, end), sending=True)
            assert self._socket is not None
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._check_time(limit, end, "takes no job")
            except OSError:
                raise self._death() from None

    def _wait(
        self, timeout_s: float, on_phase: Callable[[str, str], None] | None, build_timeout_s: float, end: float
    ) -> Any:
        limits = dict.fromkeys(BUILD_PHASES, build_timeout_s) | dict.fromkeys(_OWN_PHASES, REFERENCE_TIMEOUT_S)
        limit = timeout_s
        deadline = time.monotonic() + limit
        parts: list[Any] = []
        while True:
            message = self._receive(deadline, end, f"no answer within {limit:g} s")
            if message[0] == "phase":
                self.phase = (message[1], message[2])
                limit = limits.get(message[1], timeout_s)
                deadline = time.monotonic() + limit
                if on_phase is not None:
                    on_phase(*self.phase)
            elif message[0] == "raised":
                raise _Raised(*message[1:])
            elif message[0] == "part":
                parts.append(message[1])
            else:
                return message[1] if message[1] is not None else parts

    def _receive(self, deadline: float, end: float, late: str) -> Any:
        while True:
            try:
                body = self._reader.take()
            except Spoilt:
                raise WorkerDied("it wrote into the worker's connection") from None
            if body is not None:
                if self._stop.is_set():
                    raise Stopped
                return pickle.loads(body)
            if self._is_closed:
                raise self._death()
            assert self._process is not None
            # What a candidate forked may hold the connection open after the process's end.
            ended = self._process.poll() is not None
            if not self._look(0.0 if ended else min(deadline, end)) and ended:
                raise self._death()
            self._check_time(deadline, end, late)

    def _check_time(self, deadline: float, end: float, late: str) -> None:
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now >= end:
            raise OutOfTime("there is no time left")
        if now >= deadline:
            if not self._reader.is_quiet:
                # Less than a message; whoever wrote it is most likely done with it.
                raise WorkerDied("it wrote into the worker's connection, or was cut off in the middle of an answer")
            raise WorkerTimeout(f"{late}{self._where()}")

    def _look(self, until: float, sending: bool = False) -> bool:
        """Wait a moment for something to come, ``until`` at most; take in what the process says and prints.

        Returns:
            Has it said anything?
        """
        assert self._socket is not None
        assert self._log is not None
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if sending else 0))
        if self._log.reader >= 0:
            poll.register(self._log.reader, select.POLLIN)
        wait_s = max(0.0, min(_GLANCE_S, until - time.monotonic()))
        said = False
        for descriptor, events in poll.poll(1e3 * wait_s):
            if descriptor != self._socket.fileno():
                self._log.drain()
            elif events & ~select.POLLOUT:
                said = True
                try:
                    data = self._socket.recv(_READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                self._is_closed = not data
                self._reader.feed(data)
        return said

    def _is_spoilt(self) -> bool:
        """Has an idle process said something? Nobody asked."""
        return self.ready is not None and (self._look(0.0) or not self._reader.is_quiet)

    def _where(self) -> str:
        """Where in Python the worker hangs, as it tells on SIGUSR1."""
        if self._process is None or self._log is None:
            return ""
        if self._is_paused():
            return ", stopped by a signal"
        before = self._log.size()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        for _ in range(20):
            time.sleep(0.05)
            if self._log.size() > before:
                time.sleep(0.05)
                break
        return self._place(self._log.tail(before))

    def _is_paused(self) -> bool:
        assert self._process is not None
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_bytes()
        except OSError:
            return False
        return stat.rpartition(b")")[2].split()[:1] == [b"T"]

    def _death(self) -> WorkerDied:
        """Why the process ended."""
        assert self._process is not None
        assert self._log is not None
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return WorkerDied("it closed its connection")
        if code == EXIT_LOST:
            return WorkerDied("it closed its connection")
        if code >= 0:
            reason = f"exited with code {code}"
        else:
            if -code in _FROM_OUTSIDE:
                memory = " (out of host memory?)" if -code == signal.SIGKILL else ""
                return WorkerKilled(f"killed by {signal.Signals(-code).name}{memory}")
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = str(-code)
            reason = f"killed by {name}"
        # What candidates before this job printed explains nothing.
        lines = [line.strip() for line in self._log.tail(self._job_log).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(_PROFILER_LINES)]
        place = self._place("\n".join(lines))
        if place:
            reason += place
        elif lines and code > 0:
            reason += f": {lines[-1][:200]}"
        return WorkerDied(reason)

    def _place(self, log: str) -> str:
        """Where faulthandler says the worker was: in the user's file if that is on the stack, else innermost."""
        lines = [line.strip() for line in log.splitlines()]
        frames = [line for line in lines if line.startswith('File "') and not any(own in line for own in _OWN_FRAMES)]
        users = [line for line in frames if any(f'"{path}"' in line for path in self._settings.kernel_files)]
        return next((f", in {frame}" for frame in (*users, *frames)), "")


class _Raised(Exception):
    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = trace
