"""Clocks for runs in this process: time that passes because a worker says so, not because the machine is slow.

They stand in for ``time.monotonic`` of the program, which holds its limits and budgets by it. A worker is told the
clock's file by a variable, and writes bytes into it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Calls of the clock between a worker's word that it hangs and the leap. The program looks at the clock after each look
# for messages, so by then it has read what the worker said before it hung, and blames the right candidate.
_CALLS_BEFORE_A_LEAP = 30


class HangClock:
    """Real time, and ``leap_s`` more for each byte in ``file``; what the clock has leapt is in ``file``.leaps.

    Limits may so be far longer than what a busy machine needs, and a hang costs nothing.
    """

    def __init__(self, file: Path, leap_s: float) -> None:
        self.file = file
        self.leaps = Path(f"{file}.leaps")
        self._leap_s = leap_s
        self._real = time.monotonic
        self._leapt = 0
        self._calls = 0
        self._lock = threading.Lock()
        file.touch()
        self.leaps.touch()

    def __call__(self) -> float:
        with self._lock:
            if self.file.stat().st_size > self._leapt:
                self._calls += 1
                if self._calls > _CALLS_BEFORE_A_LEAP:
                    self._calls = 0
                    self._leapt += 1
                    with self.leaps.open("ab") as leaps:
                        leaps.write(b".")
            return self._real() + self._leapt * self._leap_s


class CountingClock:
    """Only as late as workers say: ``step_s`` for each byte in ``file``. The machine's own time is nothing.

    ``file``.seen is as long as ``file`` was when the program last looked at the clock; a worker that waits for it
    can't run ahead of the program's limits.
    """

    def __init__(self, file: Path, step_s: float) -> None:
        self.file = file
        self.seen = Path(f"{file}.seen")
        self._step_s = step_s
        self._lock = threading.Lock()
        file.touch()
        self.seen.touch()

    def __call__(self) -> float:
        with self._lock:
            steps = self.file.stat().st_size
            os.truncate(self.seen, steps)
        return 1000.0 + steps * self._step_s


@contextlib.contextmanager
def ticking(clock: HangClock | CountingClock) -> Iterator[None]:
    """This process tells the time by ``clock``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock)
        yield
