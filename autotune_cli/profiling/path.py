"""The path that a worker is to run: what each phase plans and runs, and what must be seen in it.

Plain data without tensors, since it crosses to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autotune_cli.kernels.steps import StepLayer
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.profiling.families import PathShape
from autotune_cli.profiling.request import CandidateSpec, Injected, PhaseName
from autotune_cli.sglang.padding import PadMode

PAGE_SIZE = 1
"""The page size SGLang plans with, whatever its pool's pages are."""


@dataclass(frozen=True)
class PhasePlan:
    """What a phase plans and runs, and what must be seen."""

    name: PhaseName
    wanted: CandidateSpec
    shape: PathShape
    wanted_windowed: CandidateSpec | None = None
    """Of layers with a window; None: the same."""
    planned: str = ""
    """Route that SGLang plans; empty where no path of SGLang's is run."""
    executed: str = ""
    reason: str = ""
    writes: Literal["before", "after", "never"] = "never"
    """When the new tokens' keys go into the cache: before a paged call over all keys, after a ragged one."""
    pad_mode: PadMode = "narrow"
    """How the batch is padded, where it is."""
    static_tokens: int = 0
    """What the pieces of the graph are captured for, between which attention runs; 0: there are none."""

    def wanted_of(self, workload: AnyWorkload) -> CandidateSpec:
        """What runs in a kind of layer."""
        is_windowed = bool(workload.situation.get("window"))
        return self.wanted_windowed if self.wanted_windowed and is_windowed else self.wanted

    @property
    def is_consistent(self) -> bool:
        return self.planned == self.executed

    @property
    def in_pieces(self) -> bool:
        """Does attention run between the replays of captured pieces?"""
        return self.static_tokens > 0


@dataclass(frozen=True)
class PathSpec:
    """A path to run."""

    title: str
    """For people: model, mode, shape."""
    layers: tuple[StepLayer, ...]
    phases: tuple[PhasePlan, ...]
    calls: int
    """Attention calls of a step; kinds of layers take turns."""
    page_size: int = PAGE_SIZE
    bitwise: bool = False
    injected: tuple[Injected, ...] = ()
    """Each asks for one more recording, with that kernel in every phase."""
    seed: int = 0
