"""What crosses the border between the parent and a worker: small picklable records, no tensors.

A job is called with the worker's :class:`~autotune_cli.tuning.bench.Bench` and returns a record of this file or of the
schema. The parent never imports torch, a kernel library or a user's kernel file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autotune_cli.kernels import own_files
from autotune_cli.kernels.engines import Baseline
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.results.schema import (
    BaselineResult,
    CaseEvidence,
    Ceilings,
    Conditions,
    HostTime,
    Kernel,
    Status,
)

if TYPE_CHECKING:
    from autotune_cli.kernels.workload import AnyWorkload
    from autotune_cli.tuning.bench import Bench
    from autotune_cli.tuning.builder import Builder


PART = 5000
"""Candidates that cross at once: unpickling as many takes a tenth of a second, in which no signal is handled."""


@dataclass(frozen=True)
class Planned:
    """A candidate and, where it can't be measured here, why."""

    candidate: Candidate
    default: bool = False
    status: Status | None = None
    reason: str | None = None
    fix: str | None = None


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


@dataclass(frozen=True)
class Entry:
    """One place in a round: a candidate, or its second copy for the A/A check."""

    candidate: Candidate
    copy: int = 0


@dataclass(frozen=True)
class RoundDone:
    """Times of one round in the order of its entries, in microseconds: medians of the iterations, and the mean of
    those where there are several places."""

    us: tuple[float, ...]
    conditions: Conditions
    device_s: float


@dataclass(frozen=True)
class RoundFailed:
    """A round that one entry broke (or, with None, that was lost as a whole)."""

    entry: Entry | None
    status: Status
    reason: str
    healthy: bool
    device_s: float


@dataclass(frozen=True)
class MeasureCeilings:
    def __call__(self, bench: Bench) -> Ceilings:
        return bench.ceilings()


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


@dataclass(frozen=True)
class Plan:
    workloads: tuple[AnyWorkload, ...]
    baselines: tuple[Baseline, ...] = ()
    """The default first."""
    model_type: str = ""
    """Of the model's config.json."""

    def __call__(self, bench: Bench) -> Iterator[PlannedWorkload]:
        """Workloads in order; one with many candidates in several parts, which are alike but for these."""
        from autotune_cli.tuning.plan import plan

        for workload in self.workloads:
            planned = plan(workload, bench.device, self.baselines, self.model_type)
            for begin in range(0, max(1, len(planned.candidates)), PART):
                yield replace(planned, candidates=planned.candidates[begin : begin + PART])


@dataclass(frozen=True)
class ListBackends:
    def __call__(self, bench: Bench) -> list[BackendInfo]:
        from autotune_cli.tuning.plan import backends

        return backends()


@dataclass(frozen=True)
class LoadedFiles:
    """The users' files as a worker has them now."""

    source: str
    """Hash of all that may be loaded; see :attr:`autotune_cli.kernels.registry.Backend.source_hash`."""
    files: dict[str, str]
    """Hash of each that was loaded, by its name beside the first users' file."""


@dataclass(frozen=True)
class ListLoaded:
    def __call__(self, bench: Bench) -> LoadedFiles:
        base, found = REGISTRY.own_files[0].parent, REGISTRY.own_closure()
        loaded = own_files.loaded({path.parent for path in found})
        files = {own_files.name_of(path, base): text for path, text in loaded.items()}
        return LoadedFiles(own_files.digest(found, base), files)


@dataclass(frozen=True)
class ListToBuild:
    """The modules that these candidates need and that aren't compiled yet."""

    wanted: tuple[tuple[AnyWorkload, tuple[Candidate, ...]], ...]

    def __call__(self, bench: Bench) -> ToBuild:
        from autotune_cli.tuning.listing import to_build

        return to_build(self.wanted)


@dataclass(frozen=True)
class BuildModule:
    """For a builder, see :mod:`autotune_cli.tuning.builder`."""

    module: ModuleToBuild

    def __call__(self, builder: Builder) -> ModuleBuilt:
        return builder.build(self.module)


@dataclass(frozen=True)
class Vet:
    workload: AnyWorkload
    candidate: Candidate
    rough_iterations: int = 5

    def __call__(self, bench: Bench) -> Vetted:
        return bench.vet(self.workload, self.candidate, self.rough_iterations)


@dataclass(frozen=True)
class RunRound:
    workload: AnyWorkload
    number: int
    entries: tuple[Entry, ...]
    iterations: int
    places: int = 1

    def __call__(self, bench: Bench) -> RoundDone | RoundFailed:
        return bench.round(self.workload, self.number, self.entries, self.iterations, self.places)


@dataclass(frozen=True)
class Recheck:
    """Is the candidate still right after it was measured?"""

    workload: AnyWorkload
    candidate: Candidate
    calls: int

    def __call__(self, bench: Bench) -> Vetted:
        return bench.recheck(self.workload, self.candidate, self.calls)
