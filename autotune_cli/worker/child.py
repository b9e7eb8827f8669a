"""One worker's process as the parent sees it: its connection, what it prints, and its end."""

from __future__ import annotations

import contextlib
import os
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
from autotune_cli.worker.channel import KEY_BYTES, Reader, Writer
from autotune_cli.worker.descendants import MARK, end_descendants
from autotune_cli.worker.exit_reason import exit_reason, is_paused, place_in
from autotune_cli.worker.failures import Stopped, WorkerDied
from autotune_cli.worker.log import WorkerLog
from autotune_cli.worker.temporary import temporary_variables

# How often the parent looks up while it waits: is the process alive, does the user want to stop?
_GLANCE_S = 0.1
_READ_BYTES = 1 << 18
# Between the end of its connection and its own.
_END_S = 5.0
# A hanging process answers SIGUSR1 within microseconds, unless the machine is busy.
_TELLS, _TELL_S = 20, 0.05
# -P and this instead of -m: a file in the current folder that is called like a module (queue.py) must not be imported.
# Where the package itself lies comes last, so that nothing beside it hides an installed module.
_BOOT = "import importlib, sys; sys.path.append(sys.argv[3]); importlib.import_module(sys.argv[4]).main()"
_PACKAGE_ROOT = str(Path(autotune_cli.__file__).parent.parent)


class Child:
    """A process that runs ``main`` of a module, until :meth:`end`.

    One thread talks to it. Any other thread may end it; the one that talks to it then gets :class:`Stopped`.
    """

    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    """What starts the process; tests have processes at hand."""

    def __init__(self, program: str, variables: Mapping[str, str], kernel_files: tuple[str, ...]) -> None:
        """Start it.

        Args:
            program: name of the module.
            variables: of its environment, beside those of this process.
            kernel_files: the users' files that it will load.

        Raises:
            CannotWrite: there is no folder for temporary files.
        """
        ours, theirs = socket.socketpair()
        key = secrets.token_bytes(KEY_BYTES)
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._kernel_files = kernel_files
        self._is_ended = False
        self._closing = threading.Lock()
        # Candidates and compilers print what they like; it must not tear the table. The tail explains a crash.
        self.log = WorkerLog()
        try:
            with theirs:
                self._process = self.popen(
                    [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), str(os.getpid()), _PACKAGE_ROOT, program],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=self.log.writer,
                    stderr=self.log.writer,
                    env={**os.environ, **temporary_variables(), **variables, MARK: self._mark},
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            self.log.close()
            raise
        self._socket = ours
        self._writer, self.reader = Writer(key, "parent"), Reader(key, "worker")
        self.is_closed = False
        """Has its side of the connection come to an end?"""
        try:
            self.log.started()
            # A process that has ended already is found dead when it is first listened to, with what it said.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                ours.sendall(key)
            ours.setblocking(False)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def pack(self, message: Any) -> memoryview:
        """The bytes of the next message to it; see :meth:`autotune_cli.worker.channel.Writer.pack`."""
        return memoryview(self._writer.pack(message))

    def send(self, data: memoryview) -> memoryview:
        """Send as much as it takes now, and return the rest.

        Raises:
            BlockingIOError: it takes nothing now.
            OSError: it has closed the connection.
            Stopped: it was ended by another thread.
        """
        with self._closing:
            self._check_end()
            return data[self._socket.send(data) :]

    def look(self, until: float, sending: bool = False) -> bool:
        """Wait a moment for something to come, ``until`` at most; take in what the process says and prints.

        Returns:
            Has it said anything?

        Raises:
            Stopped: it was ended by another thread.
        """
        with self._closing:
            self._check_end()
            return self._look(until, sending)

    def _look(self, until: float, sending: bool) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if sending else 0))
        if self.log.reader >= 0:
            poll.register(self.log.reader, select.POLLIN)
        wait_s = max(0.0, min(_GLANCE_S, until - time.monotonic()))
        said = False
        for descriptor, events in poll.poll(1e3 * wait_s):
            if descriptor != self._socket.fileno():
                self.log.drain()
            elif events & ~select.POLLOUT:
                said = True
                try:
                    data = self._socket.recv(_READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                self.is_closed = not data
                self.reader.feed(data)
        return said

    def printed(self) -> int:
        """How many bytes the process has printed so far.

        Raises:
            Stopped: it was ended by another thread.
        """
        with self._closing:
            self._check_end()
            return self.log.size()

    def death(self, log_begin: int) -> WorkerDied:
        """Why the process has ended.

        Args:
            log_begin: what :meth:`printed` said when the job began.

        Raises:
            Stopped: another thread has ended it.
        """
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=_END_S)
        with self._closing:
            self._check_end()
            return exit_reason(code, self.log.tail(log_begin), self._kernel_files)

    def where(self) -> str:
        """Where in Python the process hangs, as it tells on SIGUSR1; empty if it doesn't.

        Raises:
            Stopped: it was ended by another thread.
        """
        if is_paused(self.pid):
            return ", stopped by a signal"
        before = self.printed()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        for _ in range(_TELLS):
            time.sleep(_TELL_S)
            if self.printed() > before:
                time.sleep(_TELL_S)
                break
        with self._closing:
            self._check_end()
            return place_in(self.log.tail(before), self._kernel_files)

    def end(self) -> None:
        """End the process and what it started: compilers, daemons."""
        self._is_ended = True
        # Its descendants first, as those that have left its session are known by their parents; all of it before
        # the process is waited for: until then no other process gets its number.
        end_descendants(self.pid, self._mark)
        # Not while another thread waits for these descriptors: a new file may get their numbers.
        with self._closing:
            self._socket.close()
            self.log.close()
        self._process.wait()

    def _check_end(self) -> None:
        if self._is_ended:
            raise Stopped
