"""What crosses between the command and the worker that runs a path: plain data, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.profiling.padding import PadMode
from autotune_cli.profiling.verdict import Shape

PhaseName = Literal["eager", "capture", "replay", "piecewise"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)

Plant = Literal["ragged", "dense"]
"""A kernel that a broken selection would let through, run on purpose."""
PLANTS: tuple[Plant, ...] = get_args(Plant)


@dataclass(frozen=True)
class Wanted:
    """A candidate by its backend and some of its knobs; the rest is the default's, or the first supported one's."""

    backend: str
    knobs: tuple[tuple[str, str], ...] = ()
    """Names and values as they stand in a candidate's key."""

    def __str__(self) -> str:
        inner = ",".join(f"{name}={value}" for name, value in self.knobs)
        return f"{self.backend}({inner})" if inner else self.backend


@dataclass(frozen=True)
class Layer:
    """One kind of layer: its geometry and the batch's lengths (None: the workload's own)."""

    workload: AnyWorkload
    lengths: Lengths | None = None


@dataclass(frozen=True)
class PhasePlan:
    """What a phase plans and runs, and what must be seen."""

    name: PhaseName
    wanted: Wanted
    shape: Shape
    planned: str = ""
    """Route that SGLang plans; empty where no path of SGLang's is run."""
    executed: str = ""
    reason: str = ""
    writes: Literal["before", "after", "never"] = "never"
    """When the new tokens' keys go into the cache: before a paged call over all keys, after a ragged one."""

    @property
    def is_consistent(self) -> bool:
        return self.planned == self.executed


@dataclass(frozen=True)
class PathSpec:
    """A path to run."""

    title: str
    """For people: model, mode, shape."""
    layers: tuple[Layer, ...]
    phases: tuple[PhasePlan, ...]
    calls: int
    """Attention calls of a step; kinds of layers take turns."""
    page_size: int = 1
    pad_mode: PadMode = "fake-request"
    static_tokens: int = 0
    """Piecewise: what the graph is captured for."""
    bitwise: bool = False
    plants: tuple[Plant, ...] = ()
    """Each asks for one more recording, with that kernel in every phase."""
    seed: int = 0


@dataclass(frozen=True)
class Check:
    """Something that was compared, and how it came out."""

    phase: str
    code: str
    """Machine-readable, as :class:`autotune_cli.profiling.verdict.Problem`'s."""
    ok: bool
    text: str


@dataclass(frozen=True)
class PhaseRun:
    """What became of a phase."""

    plan: PhasePlan
    candidates: tuple[str, ...] = ()
    """Keys of what ran, one a kind of layer."""
    nodes: tuple[str, ...] | None = None
    """Kernel nodes of the captured graph, names as the driver gives them."""
    graphs: int = 0
    """Graph launches of the step."""
    error: str = ""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """One recording: a trace file and what its phases came to."""

    trace: str
    phases: tuple[PhaseRun, ...]
    plant: Plant | None = None


@dataclass(frozen=True)
class LiveRun:
    """A path that was run: the recording to judge, and one for each plant."""

    device: str
    recording: Recorded
    planted: tuple[Recorded, ...] = ()
    notes: tuple[str, ...] = ()
