"""What is known of one candidate on one workload."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from autotune_cli.results.schema.base import FileRecord

KnobValue = bool | int | float | str | None
Status = Literal[
    "ok",  # right, and raced to the end
    "eliminated",  # right, and dropped from the race because it is slower
    "duplicate",  # right, and launches exactly the kernels of another candidate (same_as)
    "skipped",  # not measured: the budget was spent
    "unsupported",  # doesn't apply to this workload or device
    "unavailable",  # its library is not installed
    "incorrect",
    "error",
    "timeout",
    "crashed",
    "out_of_memory",
]
MEASURED: tuple[Status, ...] = ("ok", "eliminated")
FAILED: tuple[Status, ...] = ("incorrect", "error", "timeout", "crashed", "out_of_memory")


class Kernel(FileRecord):
    """A kernel that fired, with its launch shape."""

    name: str
    grid: tuple[int, int, int] | None = None
    """None: no kernel but a copy or a fill, or launched with several shapes."""
    block: tuple[int, int, int] | None = None
    count: PositiveInt = 1
    """Launches of it with this shape in one iteration."""
    us: NonNegativeFloat | None = None
    """Of all of them together, in one rough iteration."""


class CaseEvidence(FileRecord):
    """How right a candidate was on one case of its workload."""

    case: str
    ok: bool
    measure: str
    """What ``error`` and ``limit`` are: ``error norm``, ``wrong indices in the worst row`` ..."""
    error: float | None = None
    """None: not a number."""
    limit: float | None = None
    message: str = ""


class PropertyVerdict(FileRecord):
    """Whether a candidate keeps what was required of it, as it was measured."""

    name: str
    """``deterministic``, ``batch-invariant``, ``tie-break=small`` or ``tie-break=large``."""
    ok: bool
    compared: NonNegativeInt = 0
    """Outputs that were compared with others: of further runs, of other batches."""
    message: str = ""
    """What speaks against it; empty where it is kept."""


class HostTime(FileRecord):
    """Median host time of preparing and launching, apart from the kernels."""

    plan_us: NonNegativeFloat | None = None
    launch_us: NonNegativeFloat | None = None


class CandidateResult(FileRecord):
    """What is known of one candidate on one workload."""

    key: str
    backend: str
    knobs: dict[str, KnobValue] = Field({})
    label: str
    default: bool = False
    """Is it what the first of the workload's baselines runs?"""
    status: Status
    reason: str | None = None
    fix: str | None = None
    """A command that makes an unavailable candidate available."""
    kernels: tuple[Kernel, ...] = ()
    evidence: tuple[CaseEvidence, ...] = ()
    properties: tuple[PropertyVerdict, ...] = ()
    """Of a candidate that is right, one for each that the workload requires."""
    rough_us: PositiveFloat | None = None
    """One rough time from the vetting, also of wrong candidates."""
    rough_points_us: tuple[PositiveFloat, ...] = ()
    """The same at each of the workload's ``points``, of which ``rough_us`` is the mean; empty where it has none."""
    rounds: tuple[NonNegativeInt, ...] = ()
    """Numbers of the rounds it was measured in."""
    rounds_us: tuple[PositiveFloat, ...] = ()
    """Median of the iterations of each of ``rounds``; of a workload with ``points`` their mean by weight."""
    points_us: tuple[tuple[PositiveFloat, ...], ...] = ()
    """Of each of ``rounds``, the times at each of the workload's ``points``; empty where it has none."""
    median_us: PositiveFloat | None = None
    interval_us: tuple[PositiveFloat, PositiveFloat] | None = None
    """95 % interval of the median; None: one round gives none."""
    host: HostTime = HostTime()
    build_s: NonNegativeFloat | None = None
    same_as: str | None = None
    frozen: str = ""
    """Of a workload with ``points``, what all replays of its capture have in common, in words; empty: not known."""

    @property
    def us_by_round(self) -> dict[int, float]:
        """The time of each round, in microseconds."""
        return dict(zip(self.rounds, self.rounds_us, strict=True))

    @property
    def broken(self) -> str:
        """What it was required to keep and doesn't, in words: ``not deterministic: 3 of 7 runs differed ...``."""
        return "; ".join(f"not {verdict.name}: {verdict.message}" for verdict in self.properties if not verdict.ok)

    @model_validator(mode="after")
    def _consistent(self) -> CandidateResult:
        if len(self.rounds) != len(self.rounds_us):
            raise ValueError(f"{self.key}: {len(self.rounds)} round numbers for {len(self.rounds_us)} times")
        if len(set(self.rounds)) != len(self.rounds):
            raise ValueError(f"{self.key}: a round is there twice")
        if self.points_us and len(self.points_us) != len(self.rounds):
            raise ValueError(f"{self.key}: {len(self.rounds)} rounds for {len(self.points_us)} of its lengths")
        if self.rounds_us and self.median_us is None:
            raise ValueError(f"{self.key}: rounds without a median")
        if self.status in ("unsupported", "unavailable", "skipped", *FAILED) and not self.reason:
            raise ValueError(f"{self.key}: status {self.status} without a reason")
        if self.status == "duplicate" and not self.same_as:
            raise ValueError(f"{self.key}: a duplicate of nothing")
        if self.status in MEASURED and any(not case.ok for case in self.evidence):
            raise ValueError(f"{self.key}: status {self.status} with a wrong output")
        return self
