"""The workloads that wait for a worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container, Iterable

from autotune_cli.tuning.messages import PlannedWorkload

# How often a worker that waits looks whether the user wants to stop.
_GLANCE_S = 0.1


class Waiting:
    """Workloads in the order in which workers take them; one whose worker was lost comes back, before the others."""

    def __init__(self, plans: Iterable[PlannedWorkload], stop: threading.Event) -> None:
        self._plans = deque(plans)
        self._stop = stop
        self._in_work = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._plans)

    def take(self, first: Container[str] = ()) -> PlannedWorkload | None:
        """The next workload, to be followed by :meth:`finished` or :meth:`give_back`. None: there is nothing left to
        do, or the user wants to stop. Waits as long as another worker may still be lost.

        Args:
            first: keys of workloads to be preferred.
        """
        with self._changed:
            while not self._stop.is_set():
                if self._plans:
                    self._in_work += 1
                    index = next((i for i, plan in enumerate(self._plans) if plan.workload.key in first), 0)
                    plan = self._plans[index]
                    del self._plans[index]
                    return plan
                if not self._in_work:
                    return None
                self._changed.wait(_GLANCE_S)
            return None

    def finished(self) -> None:
        """A workload that was taken is done, one way or another."""
        with self._changed:
            self._in_work -= 1
            self._changed.notify_all()

    def give_back(self, plan: PlannedWorkload) -> None:
        """A workload that was taken is to be taken by another worker."""
        with self._changed:
            self._plans.appendleft(plan)
            self._in_work -= 1
            self._changed.notify_all()
