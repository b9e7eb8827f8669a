"""The plain record of a comparison: everything that is printed, in one immutable tree of numbers and names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from autotune_cli.comparing.choices import ChoiceDecision
from autotune_cli.comparing.decisions import Decision, DecisionRule
from autotune_cli.comparing.environment import EnvironmentDifference
from autotune_cli.comparing.verdicts import ChangeVerdict


class ReportKind(StrEnum):
    """What the numbers rest on."""

    SINGLE = "single session"
    REPEATED = "repeated sessions"
    MIXED = "mixed sessions"
    """Some workloads have several sessions on both sides, others one."""
    CHOICES = "choices only"
    """Files of other programs: no times."""


@dataclass(frozen=True)
class FileInfo:
    """One file of a side."""

    path: str
    name: str
    created: str
    program: str
    noise_floor: float | None
    complete: bool


@dataclass(frozen=True)
class Side:
    """What a side is."""

    files: tuple[FileInfo, ...]
    workloads: int


@dataclass(frozen=True)
class Comparison:
    """One candidate of one workload."""

    workload: str
    """Key of the workload, as in A."""
    workload_label: str
    """The workload as tables show it."""
    operation: str
    candidate: str
    label: str
    default: bool
    chosen: str
    """Which sides chose it: ``""``, ``"A"``, ``"B"`` or ``"AB"``."""
    decision: Decision
    status_a: str | None
    status_b: str | None
    detail: str | None
    """Why it has B's status (A's, if it is in A only); how far off it was, if it was out before the race."""
    a_us: float | None
    b_us: float | None
    rounds: tuple[int, int]
    sessions: tuple[int, int]
    a_rough_us: float | None = None
    """The vetting's one time, of candidates that are right."""
    b_rough_us: float | None = None
    a_behind: float | None = None
    """Rough time over that of the best, where it was out before the race in A."""
    b_behind: float | None = None

    @property
    def verdict(self) -> ChangeVerdict:
        return self.decision.verdict


@dataclass(frozen=True)
class ChoiceComparison:
    """The choice of one workload."""

    workload: str
    workload_label: str
    operation: str
    decision: ChoiceDecision
    label_a: str | None
    label_b: str | None
    a_us: float | None
    b_us: float | None
    """Time of each side's own winner."""
    ratio: float | None
    """``b_us / a_us``: what a user of the choices gets."""
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Mean:
    """Geometric mean of ratios, B over A."""

    of: str
    """``candidates``: all with a time on both sides; ``chosen``: each side's own winners."""
    operation: str | None
    """None: all operations."""
    value: float
    low: float
    high: float
    workloads: int
    ratios: int


@dataclass(frozen=True)
class Report:
    """All that is said of B against A."""

    kind: ReportKind
    a: Side
    b: Side
    rule: DecisionRule
    environment: tuple[EnvironmentDifference, ...]
    notes: tuple[str, ...]
    refusal: str | None
    """Why nothing was compared; None if something was."""
    comparisons: tuple[Comparison, ...]
    """The most important first."""
    choices: tuple[ChoiceComparison, ...]
    means: tuple[Mean, ...]
    only_a: tuple[str, ...]
    """Keys of workloads."""
    only_b: tuple[str, ...]
    sessions: tuple[int, int]
    """The most sessions a workload has on each side."""
    comparable: int
    """Workloads (of files without times: keys) in both."""

    @cached_property
    def verdicts(self) -> Counter[ChangeVerdict]:
        """How many candidates have each verdict."""
        return Counter(comparison.verdict for comparison in self.comparisons)

    def count(self, verdict: ChangeVerdict) -> int:
        """Candidates with that verdict."""
        return self.verdicts[verdict]
