"""How a question to a worker can end without an answer."""

from __future__ import annotations


class WorkerDied(Exception):
    """The process ended by itself (a crash, an exit), or can't be talked to any more."""


class WorkerKilled(WorkerDied):
    """The process was killed from outside. That says nothing of the job, which was tried again if the message says
    twice."""


class WorkerTimeout(Exception):
    """The process was killed because it didn't answer in time."""


class OutOfTime(WorkerTimeout):
    """The process was killed because the caller's time was over. It says nothing of the job."""


class WorkerRaised(Exception):
    """The job raised: a fault of this program, not of a candidate."""


class WorkerLost(Exception):
    """The machine that a worker runs on is gone, or its worker can't be started again. It says nothing of the job,
    which another machine can do."""


class Stopped(Exception):
    """The user wants to stop; the process was killed."""
