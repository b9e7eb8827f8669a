"""Shares a run's time out fairly among its workloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Vetting may take this share of a workload's time; the race needs the rest.
VETTING_SHARE = 0.5
# And that of the baselines and of the user's own candidates this one.
FIRST_SHARE = 0.75
# The last part of a run's time isn't shared out: it is for what must not be cut off, the check of a winner, the first
# round of a race, and the file.
RESERVE = 0.1
# How far into the time that others have left a workload may go that has no right candidate yet.
_GRACE = 0.5


class Budget:
    """A deadline for all, and one for each workload: what is left, divided by the workloads left.

    ``workers`` of them run side by side, so each gets that many times its share. A workload that ends early leaves
    its time to the others. ``reserve``: relative; what is left at the end, and isn't shared out.
    """

    def __init__(
        self,
        seconds: float | None,
        workloads: int,
        workers: int = 1,
        now: Callable[[], float] | None = None,
        reserve: float = 0.0,
    ) -> None:
        # By its name: it is the same clock that workers are held to, a test's own one too.
        self._now = now = now or time.monotonic
        self._hard_end = float("inf") if seconds is None else now() + seconds
        self._end = None if seconds is None else now() + (1.0 - reserve) * seconds
        self._left = workloads
        self._workers = max(1, workers)
        self._costly: set[str] = set()
        self._lock = threading.Lock()

    def share(self) -> BudgetShare:
        """The time of the next workload."""
        with self._lock:
            left, self._left = max(1, self._left), self._left - 1
        begin = self._now()
        if self._end is None:
            never = float("inf")
            return BudgetShare(never, never, never, never, never, self._now, set())
        seconds = max(0.0, self._end - begin) * min(self._workers, left) / left
        end = begin + seconds
        grace = max(end, min(self._hard_end, end + _GRACE * max(0.0, self._hard_end - end)))
        return BudgetShare(
            begin + VETTING_SHARE * seconds,
            begin + FIRST_SHARE * seconds,
            end,
            grace,
            max(grace, self._hard_end),
            self._now,
            self._costly,
        )

    def worker_lost(self) -> None:
        """A worker is gone, and the workload that it had is to be done by one of the others."""
        with self._lock:
            self._left += 1
            self._workers = max(1, self._workers - 1)


class BudgetShare:
    """One workload's time. All ends are by ``time.monotonic()``, infinite without a budget."""

    def __init__(
        self,
        vetting_end: float,
        first_end: float,
        end: float,
        grace_end: float,
        hard_end: float,
        now: Callable[[], float],
        costly: set[str],
    ) -> None:
        self.vetting_end = vetting_end
        """Of vetting, once there is a right candidate."""
        self.first_end = first_end
        """The same, for candidates that are vetted first."""
        self.end = end
        """Of the race, once it has a round."""
        self.grace_end = grace_end
        """Until there is a right candidate, and until the race has a round."""
        self.hard_end = hard_end
        """Of the whole run."""
        self.costly = costly
        """Keys of candidates that have cost a worker, and with it the seconds that the next one takes to start, in some
        workload: with a budget their turn comes last. Shared by all workloads."""
        self._now = now

    @property
    def is_bounded(self) -> bool:
        return self.end != float("inf")

    def vetting_is_over(self, is_first: bool = False) -> bool:
        return self._now() >= (self.first_end if is_first else self.vetting_end)

    def is_over(self) -> bool:
        return self._now() >= self.end

    def is_out_of_grace(self) -> bool:
        """Is not even the time left that a workload without any result may take?"""
        return self._now() >= self.grace_end
