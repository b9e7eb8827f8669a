"""What the tuning of one workload is given, and what it has found so far."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_cli.kernels.properties import Property
from autotune_cli.kernels.registry import Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.schema import CandidateResult, Conditions, WorkloadResult
from autotune_cli.tuning.budget import BudgetShare
from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.measurer import Measurer
from autotune_cli.tuning.messages import PlannedWorkload
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.progress import TuneProgress


class Interrupted(Exception):
    """The user wants to stop. ``partial`` is the workload's result so far, if it has one."""

    def __init__(self, partial: WorkloadResult | None = None) -> None:
        super().__init__("interrupted")
        self.partial = partial


@dataclass
class Known:
    """What a journal holds of a workload."""

    vetted: Mapping[str, CandidateResult] = field(default_factory=dict)
    rounds: Mapping[int, RoundRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSettings:
    """What all workloads of a run share."""

    policy: RacePolicy
    timeout_s: float
    environment: str
    """Key of the environment in the result file."""
    keep_own: bool = False
    """The user's own candidates are raced to the end as long as they are right."""
    required: tuple[Property, ...] = ()
    """What a candidate must be shown to keep, or it can't win."""


@dataclass(frozen=True)
class Task:
    """One workload to be tuned, and by what. The worker's process may be replaced meanwhile."""

    planned: PlannedWorkload
    identity: Mapping[str, str]
    settings: TaskSettings
    worker: Measurer
    journal: Journal
    progress: TuneProgress
    share: BudgetShare
    stop: threading.Event
    known: Known = field(default_factory=Known)
    floor_us: float | None = None
    card: str | None = None
    """UUID of the GPU."""
    builds: Builds = field(default_factory=Builds)

    @property
    def workload(self) -> AnyWorkload:
        return self.planned.workload

    @property
    def key(self) -> str:
        return self.planned.workload.key

    @property
    def policy(self) -> RacePolicy:
        return self.settings.policy

    @property
    def candidates(self) -> dict[str, Candidate]:
        """By key, in the order of the plan."""
        return {entry.candidate.key: entry.candidate for entry in self.planned.candidates}

    @property
    def held(self) -> list[str]:
        """Keys of the baselines' candidates."""
        return [each.candidate for each in self.planned.baselines if each.candidate is not None]

    @property
    def own(self) -> list[str]:
        """Keys of the user's own candidates, where they are never dropped for being slow."""
        backends = self.planned.own_backends if self.settings.keep_own else ()
        return [key for key, candidate in self.candidates.items() if candidate.backend in backends]

    def phase(self, name: str, subject: str) -> None:
        """Tell the user what the worker does."""
        self.progress.phase(self.key, name, subject)

    def check_stop(self) -> None:
        """Go on?

        Raises:
            Interrupted: the user wants to stop.
        """
        if self.stop.is_set():
            raise Interrupted


@dataclass
class Findings:
    """What is known of a workload's candidates so far."""

    results: dict[str, CandidateResult] = field(default_factory=dict)
    """By key, in the order of the plan."""
    conditions: list[Conditions] = field(default_factory=list)
    """Of every round, dropped ones too."""
    killed: set[str] = field(default_factory=set)
    """Candidates whose worker was killed from outside each time: their statuses are nothing to keep."""
    unjudged: str | None = None
    """Why no candidate can be judged: inputs or reference can't be made."""
    is_unchecked: bool = False
    """The winner, or a candidate that is shown beside it, could not be checked again after the race."""
    warnings: list[str] = field(default_factory=list)
    device_s: float = 0.0

    @property
    def default(self) -> str | None:
        """Key of the candidate that runs without tuning; None: there is none."""
        return next((key for key, result in self.results.items() if result.default), None)
