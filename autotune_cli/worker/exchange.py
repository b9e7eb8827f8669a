"""One message to a worker's process and what it answers, within time limits."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

from autotune_cli.worker.channel import Spoilt
from autotune_cli.worker.child import Child
from autotune_cli.worker.failures import OutOfTime, Stopped, WorkerDied, WorkerTimeout


class JobRaised(Exception):
    """What the process answers if the job, or its own start, raised."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = trace


class Exchange:
    """Of this thread with a process.

    Args:
        stop: the user wants to stop.
        end: by ``time.monotonic()``, when the caller has no more time, whatever the limits.
        printed: bytes that the process had printed when the exchange began.
    """

    def __init__(self, child: Child, stop: threading.Event, end: float, printed: int) -> None:
        self._child = child
        self._stop = stop
        self._end = end
        self._printed = printed

    def send(self, message: Any, limit: float) -> None:
        """Send a message; a process that doesn't read it has the time until ``limit``, by ``time.monotonic()``.

        Raises:
            WorkerDied, WorkerKilled, WorkerTimeout, OutOfTime, Stopped: see :mod:`autotune_cli.worker.failures`.
        """
        data = self._child.pack(message)
        while data:
            self._child.look(min(limit, self._end), sending=True)
            try:
                data = self._child.send(data)
            except BlockingIOError:
                self._check_time(limit, "takes no job")
            except OSError:
                raise self._child.death(self._printed) from None

    def answer(self, limit_of: Callable[[str], float], on_phase: Callable[[str, str], None]) -> Any:
        """Wait for the answer; the time limit starts anew with every phase that the process reports.

        Args:
            limit_of: seconds that the phase of that name may take; the empty name is the time before the first one.
            on_phase: told of each phase and its subject.

        Returns:
            What the job returned; a list, if that is an iterator.

        Raises:
            JobRaised: the job raised.
            WorkerDied, WorkerKilled, WorkerTimeout, OutOfTime, Stopped: see :mod:`autotune_cli.worker.failures`.
        """
        limit = limit_of("")
        deadline = time.monotonic() + limit
        parts: list[Any] = []
        while True:
            kind, *rest = self._receive(deadline, f"no answer within {limit:g} s")
            if kind == "phase":
                limit = limit_of(rest[0])
                deadline = time.monotonic() + limit
                on_phase(*rest)
            elif kind == "raised":
                raise JobRaised(*rest)
            elif kind == "part":
                parts.append(rest[0])
            else:
                return rest[0] if rest[0] is not None else parts

    def _receive(self, deadline: float, late: str) -> Any:
        child = self._child
        while True:
            try:
                body = child.reader.take()
            except Spoilt:
                raise WorkerDied("it wrote into the worker's connection") from None
            if body is not None:
                if self._stop.is_set():
                    raise Stopped
                return pickle.loads(body)
            if child.is_closed:
                raise child.death(self._printed)
            # What a candidate forked may hold the connection open after the process's end.
            ended = child.has_ended()
            if not child.look(0.0 if ended else min(deadline, self._end)) and ended:
                raise child.death(self._printed)
            self._check_time(deadline, late)

    def _check_time(self, deadline: float, late: str) -> None:
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now >= self._end:
            raise OutOfTime("there is no time left")
        if now >= deadline:
            if not self._child.reader.is_quiet:
                # Less than a message; what wrote it is most likely done with it.
                raise WorkerDied("it wrote into the worker's connection, or was cut off in the middle of an answer")
            raise WorkerTimeout(f"{late}{self._child.where()}")
