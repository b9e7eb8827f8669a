"""A node's side of a run on a cluster: it has the node's worker process, which may hang, crash or be killed.

One call at a time, each with a number; what happens meanwhile is asked for. So a question that was lost on the way can
be asked again, and nothing is done twice.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autotune_cli.tuning.bench_process import BenchProcess
from autotune_cli.tuning.cluster.calls import (
    About,
    AskCall,
    BuildCall,
    BuildsEvent,
    Call,
    DoneEvent,
    Event,
    PhaseEvent,
    StartCall,
    about,
)
from autotune_cli.tuning.progress import BuildsState, TuneProgress
from autotune_cli.worker.protocol import WorkerSettings


class Host:
    """Has one worker process at a time. Each method may be called by any thread, and be called again."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._bench = BenchProcess(settings)
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._number = 0
        self._events: list[Event] = []
        self._changed = threading.Condition()
        # A process dies with the thread that has started it, so it is one thread that does to the end.
        threading.Thread(target=self._serve, name="worker", daemon=True).start()

    def about(self) -> About:
        """The program on this node."""
        return about()

    def leave_threads(self) -> None:
        """Take back what Ray has set in this process: as many threads as the actor was given processors. A worker of
        this machine would compute with as many as there are. What the node's administrator has set stays.
        """
        try:
            begun_with = Path("/proc/self/environ").read_bytes().split(b"\0")
        except OSError:
            return
        if not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in begun_with):
            os.environ.pop("OMP_NUM_THREADS", None)

    def begin(self, number: int, call: Call) -> None:
        """Begin a call, unless it is begun.

        Args:
            number: one more than that of the call before, which is done.
        """
        with self._changed:
            if number <= self._number:
                return
            self._number, self._events = number, []
        self._calls.put(call)

    def events(self, number: int, after: int, wait_s: float) -> Sequence[Event]:
        """What has happened in a call since ``after`` events of it; empty if nothing does for ``wait_s``."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) > after, wait_s)
            return self._events[after:] if number == self._number else []

    def kill(self) -> None:
        """End the worker process; the next call starts another."""
        self._bench.kill()

    def _serve(self) -> None:
        while True:
            call = self._calls.get()
            value, error = None, None
            try:
                value = self._answer(call)
            except BaseException as raised:  # raised where it was asked
                error = raised
            self._add(DoneEvent(value, error, self._bench.starts, self._bench.phase))

    def _answer(self, call: Call) -> object:
        if isinstance(call, StartCall):
            return self._bench.start(time.monotonic() + call.left_s)
        if isinstance(call, AskCall):
            end = time.monotonic() + call.left_s
            return self._bench.ask(call.job, call.timeout_s, self._phase, call.build_timeout_s, end)
        assert isinstance(call, BuildCall)
        return self._bench.build(call.wanted, _Told(self), call.budget_s, call.timeout_s)

    def _phase(self, name: str, subject: str) -> None:
        self._add(PhaseEvent(name, subject))

    def builds(self, state: BuildsState) -> None:
        now = time.monotonic()
        self._add(BuildsEvent(replace(state, running={title: now - at for title, at in state.running.items()})))

    def _add(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()


class _Told(TuneProgress):
    def __init__(self, host: Host) -> None:
        self._host = host

    def builds(self, state: BuildsState) -> None:
        self._host.builds(state)
