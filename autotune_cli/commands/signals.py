"""Ctrl-C and SIGTERM during a run that keeps what it has."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Signals:
    """Ctrl-C and SIGTERM set the stop event; a second one ends the program at once."""

    def __init__(self, stop: threading.Event) -> None:
        self.first: int | None = None
        """Number of the signal that came first."""
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = number
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
