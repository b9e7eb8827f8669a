"""What crosses between the parent and the workers of ``autotune tune``: small picklable records, no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune_cli.kernels.registry import Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import (
    BaselineResult,
    CaseEvidence,
    Conditions,
    HostTime,
    Kernel,
    PropertyVerdict,
    Status,
)
from autotune_cli.worker.protocol import Ready


@dataclass(frozen=True)
class ReadyToMeasure(Ready):
    """The greeting of a worker that vets and races candidates."""

    timer: str
    l2: str


@dataclass(frozen=True)
class ReadyToBuild:
    """A builder's greeting: it knows of no device."""


@dataclass(frozen=True)
class Planned:
    """A candidate and, where it can't be measured here, why."""

    candidate: Candidate
    default: bool = False
    status: Status | None = None
    reason: str | None = None
    fix: str | None = None
    promises: bool = False
    """Does it keep more than being right, for which it takes longer? See ``promises`` of
    :func:`autotune_cli.kernels.registry.register`."""


@dataclass(frozen=True)
class PlannedWorkload:
    """All candidates of a workload, and what the parent needs to know of their backends (which it never imports)."""

    workload: AnyWorkload
    candidates: tuple[Planned, ...]
    sources: dict[str, str]
    """Hash of each backend's source, and of the operation's inputs and judge (``problem``)."""
    launch_knobs: dict[str, tuple[str, ...]]
    """By backend; see :func:`autotune_cli.kernels.registry.register`."""
    baselines: tuple[BaselineResult, ...] = ()
    """Without speed-ups; the default first."""
    own_source: str = ""
    """Hash of all files that the users' files may load; empty without any."""
    own_backends: tuple[str, ...] = ()
    """Names of those that come from files of the user's."""


@dataclass(frozen=True)
class BackendInfo:
    """One line of ``autotune kernels``."""

    name: str
    operations: tuple[str, ...]
    knobs: str
    missing: str | None
    install: str
    devices: tuple[str, ...]
    source: str
    needs: str = ""
    """The GPU that it takes, in words; empty: any of NVIDIA's."""


@dataclass(frozen=True)
class LoadedFiles:
    """The users' files as a worker has them now."""

    source: str
    """Hash of all that may be loaded; see :attr:`autotune_cli.kernels.registry.Backend.source_hash`."""
    files: dict[str, str]
    """Hash of each that was loaded, by its name beside the first users' file."""


@dataclass(frozen=True)
class Vetted:
    """The outcome of vetting one candidate, or of checking it again."""

    status: Status
    reason: str | None = None
    evidence: tuple[CaseEvidence, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    rough_us: float | None = None
    host: HostTime = field(default_factory=HostTime)
    build_s: float | None = None
    device_s: float = 0.0
    healthy: bool = True
    """False: the process can't be trusted any more (a sticky CUDA error) and must be replaced."""
    unjudged: bool = False
    """The inputs or their reference could not be made: ``reason`` says nothing of the candidate."""
    killed: bool = False
    """The process was killed from outside, which may not happen again: nothing to keep."""
    points_us: tuple[float, ...] = ()
    """Rough times at the workload's lengths, of which ``rough_us`` is the mean."""
    properties: tuple[PropertyVerdict, ...] = ()
    """Whether it keeps what is required of it."""
    frozen: str = ""
    """What all its replays have in common, whatever their lengths."""


@dataclass(frozen=True)
class CheckPlan:
    """What a workload's check has: its cases and its candidates."""

    workload: AnyWorkload
    cases: tuple[str, ...]
    candidates: tuple[Planned, ...]


@dataclass(frozen=True)
class Checked:
    """What came of one candidate on one case."""

    status: Status
    evidence: CaseEvidence | None = None
    """None: nothing was judged."""
    reason: str | None = None
    healthy: bool = True
    """False: the process can't be trusted any more and must be replaced."""


@dataclass(frozen=True)
class RoundEntry:
    """A candidate in a round, or its second copy for the A/A check."""

    candidate: Candidate
    copy: int = 0


@dataclass(frozen=True)
class RoundDone:
    """Times of one round in the order of its entries, in microseconds: medians of the iterations, and the mean of
    those where there are several placements or lengths (by their weights)."""

    us: tuple[float, ...]
    conditions: Conditions
    device_s: float
    points_us: tuple[tuple[float, ...], ...] = ()
    """Of each entry at each of the workload's lengths; empty where it has none."""


@dataclass(frozen=True)
class RoundFailed:
    """A round that one entry broke (or, with None, that was lost as a whole)."""

    entry: RoundEntry | None
    status: Status
    reason: str
    healthy: bool
    device_s: float


@dataclass(frozen=True)
class ModuleToBuild:
    """A module that isn't compiled yet, one candidate that needs it, and what the parent must know to have it built.

    See :class:`autotune_cli.kernels.modules.Module` for what isn't explained here.
    """

    name: str
    title: str
    seconds: float
    jobs: int
    gigabytes: float
    variables: dict[str, str]
    workload: AnyWorkload
    candidate: Candidate


@dataclass(frozen=True)
class ToBuild:
    """What has to be compiled before candidates can be measured."""

    modules: tuple[ModuleToBuild, ...] = ()
    needs: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Names of the modules above that a candidate needs, by the keys of its workload and of itself."""


@dataclass(frozen=True)
class ModuleBuilt:
    """What came of a build. ``killed``: for lack of memory, most likely, so it is worth another try, and nothing to
    keep in a cache."""

    status: Status = "ok"
    reason: str | None = None
    killed: bool = False
