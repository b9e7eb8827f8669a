"""What stands on a report's page: texts, numbers and names, no markup. It is made of data classes, so that a test can
ask for all of it without a browser.

``page.py`` makes HTML of it, ``figures.py`` the figures. Times are microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune_cli.comparing.verdicts import Tone
from autotune_cli.measure.statistics import Ratio as TimeRatio


@dataclass(frozen=True)
class Speedup:
    """What a workload's winner gains over one baseline."""

    text: str
    """``1.278 ± .003``, or ``wrong``, ``missing``, ``-``."""
    value: float | None = None
    interval: tuple[float, float] | None = None
    """99 % interval."""


@dataclass(frozen=True)
class CandidateRow:
    """A candidate of a workload."""

    label: str
    status: str
    time: str
    rounds: str
    note: str


@dataclass(frozen=True)
class Series:
    """The times of a candidate, round by round."""

    label: str
    status: str
    role: str
    """``winner``, ``tie``, names of baselines it stands for; or nothing."""
    us: tuple[float | None, ...]
    """One for each of the history's ``rounds``; None: it was not measured in that one."""


@dataclass(frozen=True)
class Clock:
    """The GPU in one round."""

    mhz: float | None
    throttled: str
    """Why it was slowed down; empty: it was not."""
    dropped: bool


@dataclass(frozen=True)
class History:
    """The rounds of a workload in the order of time, with the SM clock beside them."""

    rounds: tuple[int, ...]
    series: tuple[Series, ...]
    clocks: tuple[Clock | None, ...]
    """One for each of ``rounds``; None: not read, as on a CPU."""

    @property
    def has_clocks(self) -> bool:
        return any(clock is not None and clock.mhz is not None for clock in self.clocks)

    @property
    def is_disturbed(self) -> bool:
        """Was the GPU slowed down in a round, or a round dropped?"""
        return any(clock is not None and (clock.throttled or clock.dropped) for clock in self.clocks)


@dataclass(frozen=True)
class TimePoint:
    """A time of one workload, for the figures of times against sizes."""

    series: str
    """``winner``, ``baseline`` or ``floor``."""
    us: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class WorkloadPart:
    """A workload and what it came to."""

    id: str
    """Unique on the page, and no text of others."""
    name: str
    """In a few words, unique in its result: ``attention.decode 64 x ≤8192 graph``."""
    key: str
    """All that it is: its geometry and types too."""
    operation: str
    title: str
    """The operation with what tells a model's layers apart."""
    batch: str
    context: str
    mode: str
    winner: str | None
    winner_is_default: bool
    time: str
    baseline: str
    """Its time, or in a word why there is none."""
    roofline: str
    """The floor's time."""
    floor: str
    """The winner's share of it."""
    ties: str
    speedups: tuple[Speedup, ...]
    """One for each of the result's ``baselines``."""
    candidates: tuple[CandidateRow, ...]
    """The fastest first."""
    history: History | None
    """None: nothing was measured in rounds."""
    sizes: tuple[tuple[str, int], ...]
    """What a server's batches differ in: the number of requests or rows first, then their length."""
    times: tuple[TimePoint, ...]
    lengths: tuple[tuple[str, ...], ...] = ()
    """Rows of a workload that was captured once and measured at several lengths."""
    facts: tuple[str, ...] = ()
    """Sentences: the noise, why the race ended, what is the same for all lengths."""

    @property
    def statuses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(candidate.status for candidate in self.candidates))


@dataclass(frozen=True)
class Failure:
    """A candidate that must not or can't run for a workload."""

    workload: WorkloadPart
    candidate: str
    is_default: bool
    status: str
    time: str
    """One rough time; ``-``: there is none."""
    reason: str
    evidence: tuple[str, ...]
    """A sentence for each case on which it was wrong."""


@dataclass(frozen=True)
class Fact:
    """A line of what a result rests on."""

    name: str
    value: str


@dataclass(frozen=True)
class FactGroup:
    """Lines under one heading."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Mean:
    """What all winners gain over one baseline."""

    over: str
    """The baseline in words."""
    value: str
    """``1.12``."""
    interval: str
    """``1.09 to 1.17``; empty: of one workload."""
    workloads: int
    of: str = "geometric mean of"
    """What is done with the workloads."""


@dataclass(frozen=True)
class PlanSetting:
    """What the planned server is told."""

    typed: str
    """``--page-size 64``."""
    gain: str
    """The step without it over the step with it; or why that is not known."""
    costs: str
    """The workloads that are slower with it; empty: none is."""


@dataclass(frozen=True)
class PlanRow:
    """A workload on the planned server."""

    workload: WorkloadPart
    share: str
    """Of the planned step's time."""
    runs: str
    time: str
    gain_text: str
    gain: TimeRatio | None
    """The untuned server's time over the plan's; None: ``gain_text`` has the word for why not."""
    best: str
    loss_text: str
    loss: TimeRatio
    """The plan's time over the best candidate's."""


@dataclass(frozen=True)
class PlanPart:
    """One server for all workloads of a device."""

    heading: tuple[str, ...]
    """What was planned, and by which weights."""
    settings: tuple[PlanSetting, ...]
    told: tuple[str, ...]
    """Sentences in the place of settings where the server is told nothing."""
    untuned: str
    """Name of the baseline that gains are over."""
    gain: str
    """Of the weighted step."""
    loss: str
    """Of the weighted step against each workload's best."""
    losses: tuple[str, ...]
    """What that is made of."""
    steps: tuple[str, ...]
    """From microseconds to tokens."""
    rows: tuple[PlanRow, ...]
    untold: tuple[str, ...]
    """What the engine can't be told, and what that loses."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Unplanned:
    """A device for whose results there is no plan."""

    reason: str


@dataclass(frozen=True)
class ResultPart:
    """The results of one device in one file."""

    id: str
    side: str
    """``A`` or ``B`` where there are two files; empty: there is one."""
    name: str
    device: str
    path: str
    header: tuple[str, ...]
    """On what was measured and how, and what the speed-ups are over."""
    means: tuple[Mean, ...]
    counts: str
    warnings: tuple[str, ...]
    baselines: tuple[str, ...]
    """Names of what speed-ups are over; the first is the one that was asked for, or else the default."""
    workloads: tuple[WorkloadPart, ...]
    failures: tuple[Failure, ...]
    environment: tuple[FactGroup, ...]
    plan: PlanPart | Unplanned | None = None
    """None: it isn't asked for, as of A beside B, or no server runs such results, as on a CPU."""

    @property
    def planned(self) -> PlanPart | None:
        return self.plan if isinstance(self.plan, PlanPart) else None

    @property
    def title(self) -> str:
        return f"{self.side}: {self.device}" if self.side else self.device


@dataclass(frozen=True)
class ChangeRow:
    """A row of the comparison."""

    word: str
    tone: Tone
    workload: str
    what: str
    times: str
    change: str
    note: str
    operation: str
    """Empty: it is of several."""


@dataclass(frozen=True)
class Ratio:
    """A candidate's time in B over that in A."""

    workload: str
    operation: str
    label: str
    verdict: str
    tone: Tone
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Changes:
    """What changed from A to B."""

    sides: tuple[str, ...]
    environment: tuple[str, ...]
    """A sentence for each field that differs."""
    basis: str | None
    notes: tuple[str, ...]
    refusal: str | None
    """Why nothing was compared; None if something was."""
    rows: tuple[ChangeRow, ...]
    only: tuple[str, ...]
    totals: tuple[str, ...]
    means: tuple[str, ...]
    ratios: tuple[Ratio, ...]
    """Those with an interval, the most important first."""
    coverage: float
    """Of the intervals: 0.95."""


@dataclass(frozen=True)
class ReportPage:
    """The whole page."""

    title: str
    subtitle: str
    program: str
    changes: Changes | None
    results: tuple[ResultPart, ...]
    notes: tuple[str, ...] = field(default=())
    """What casts doubt on a file as a whole."""
