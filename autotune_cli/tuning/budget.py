"""Shares a run's time out fairly among its workloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Vetting may take this share of a workload's time; the race needs the rest.
VETTING_SHARE = 0.5


class Budget:
    """A deadline for all, and one for each workload: what is left, divided by the workloads left.

    ``workers`` of them run side by side, so each gets that many times its share. A workload that ends early leaves
    its time to the others.
    """

    def __init__(
        self, seconds: float | None, workloads: int, workers: int = 1, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._end = None if seconds is None else now() + seconds
        self._left = workloads
        self._workers = max(1, workers)
        self._lock = threading.Lock()

    def share(self) -> Share:
        """The time of the next workload."""
        with self._lock:
            left, self._left = max(1, self._left), self._left - 1
        begin = self._now()
        if self._end is None:
            return Share(None, None, self._now)
        seconds = max(0.0, self._end - begin) * min(self._workers, left) / left
        return Share(begin + VETTING_SHARE * seconds, begin + seconds, self._now)


class Share:
    """One workload's time."""

    def __init__(self, vetting_end: float | None, end: float | None, now: Callable[[], float]) -> None:
        self._vetting_end = vetting_end
        self._end = end
        self._now = now

    def vetting_is_over(self) -> bool:
        return self._vetting_end is not None and self._now() >= self._vetting_end

    def vetting_left_s(self) -> float:
        """Seconds left for vetting, at least 1; infinite without a budget."""
        return float("inf") if self._vetting_end is None else max(1.0, self._vetting_end - self._now())

    def left_s(self) -> float:
        """Seconds left, at least 1; infinite without a budget."""
        return float("inf") if self._end is None else max(1.0, self._end - self._now())

    def is_over(self) -> bool:
        return self._end is not None and self._now() >= self._end
