"""Regular expressions that users write: compiled with a clear refusal, and matched within a time.

Python's ``re`` takes no time limit, and ``(a+)+$`` needs 2^n steps for a name of n letters. But its engine looks for
signals every few thousand steps (``Modules/_sre/sre_lib.h``), so a timer's signal ends it. The timer counts the
processor time of this process: a busy machine ends nothing too early.
"""

from __future__ import annotations

import re
import signal
import threading
import time
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

# The longest rule of our own has 250 characters.
MOST_CHARS = 2000
# A search takes a microsecond or some; these are processor seconds.
ONE_S = 0.5
ALL_S = 4.0
_SHOWN = 80
Result = TypeVar("Result")


class BadPattern(ValueError):
    """Why a text is no regular expression for kernel names."""


class TooSlow(Exception):
    """The time is over."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """A regular expression of Python's.

    Raises:
        BadPattern: it is none, or too long, or takes too long to compile.
    """
    if len(text) > MOST_CHARS:
        raise BadPattern(f"has {len(text):,} characters, at most {MOST_CHARS:,} are read")
    try:
        with warnings.catch_warnings():
            # Of a [[ that may mean something else in a later version of Python.
            warnings.simplefilter("ignore")
            return Patience().run(lambda: re.compile(text))
    except RecursionError:
        raise BadPattern("is no regular expression: nested too deeply") from None
    except (TooSlow, MemoryError):
        raise BadPattern("takes too long to compile") from None
    except (re.error, ValueError, OverflowError) as error:  # flags that exclude each other, a huge count
        raise BadPattern(f"is no regular expression: {error}") from None


def quoted(text: str) -> str:
    """A pattern or a kernel's name for a message."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")


class Patience:
    """Processor time for searches: so much for each of them, and so much for all together."""

    def __init__(self, one_s: float = ONE_S, all_s: float = ALL_S) -> None:
        self._one_s = one_s
        self._left_s = all_s

    def run(self, call: Callable[[], Result]) -> Result:
        """What the call returns. Signals reach the main thread only: in others the call takes as long as it takes.

        Raises:
            TooSlow: the time is over.
            MemoryError: the engine found no more memory for where to go back to.
        """
        if threading.current_thread() is not threading.main_thread():
            return call()
        if self._left_s <= 0.0:
            raise TooSlow
        start = time.thread_time()
        before = signal.signal(signal.SIGVTALRM, _over)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, min(self._one_s, self._left_s))
            try:
                return call()
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        finally:
            signal.signal(signal.SIGVTALRM, before)
            self._left_s -= time.thread_time() - start


def _over(number: int, frame: FrameType | None) -> None:
    raise TooSlow
