"""What the parent asks of the workers of ``autotune tune``. Picklable; imports torch only in the worker.

A job is called with the worker's :class:`~autotune_cli.tuning.bench.Bench`, or the builder's
:class:`~autotune_cli.tuning.builder.Builder`, and returns a record of :mod:`autotune_cli.tuning.messages` or of the
schema. The parent never imports torch, a kernel library or a user's kernel file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autotune_cli.kernels import own_files
from autotune_cli.kernels.engines import Baseline
from autotune_cli.kernels.properties import Property
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.results.schema import Ceilings
from autotune_cli.tuning.messages import (
    BackendInfo,
    LoadedFiles,
    ModuleBuilt,
    ModuleToBuild,
    PlannedWorkload,
    RoundDone,
    RoundEntry,
    RoundFailed,
    ToBuild,
    Vetted,
)

if TYPE_CHECKING:
    from autotune_cli.kernels.workload import AnyWorkload
    from autotune_cli.tuning.bench import Bench
    from autotune_cli.tuning.builder import Builder

PART = 5000
"""Candidates that cross at once: unpickling as many takes a tenth of a second, in which no signal is handled."""


@dataclass(frozen=True)
class MeasureCeilings:
    def __call__(self, bench: Bench) -> Ceilings:
        return bench.ceilings()


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
    """For any worker."""

    def __call__(self, context: object) -> list[BackendInfo]:
        from autotune_cli.tuning.plan import backends

        return backends()


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
    required: tuple[Property, ...] = ()

    def __call__(self, bench: Bench) -> Vetted:
        return bench.vet(self.workload, self.candidate, self.rough_iterations, self.required)


@dataclass(frozen=True)
class RunRound:
    workload: AnyWorkload
    number: int
    entries: tuple[RoundEntry, ...]
    iterations: int
    placements: int = 1
    """0: where the candidates were vetted."""

    def __call__(self, bench: Bench) -> RoundDone | RoundFailed:
        return bench.round(self.workload, self.number, self.entries, self.iterations, self.placements)


@dataclass(frozen=True)
class Recheck:
    """Is the candidate still right after it was measured?"""

    workload: AnyWorkload
    candidate: Candidate
    calls: int

    def __call__(self, bench: Bench) -> Vetted:
        return bench.recheck(self.workload, self.candidate, self.calls)
