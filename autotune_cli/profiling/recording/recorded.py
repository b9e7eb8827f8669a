"""What a worker hands back: plain data, no tensors."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.request import Injected


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
    injected: Injected | None = None


@dataclass(frozen=True)
class LiveRun:
    """A path that was run: the recording to judge, and one for each kernel that was injected."""

    device: str
    recording: Recorded
    injected: tuple[Recorded, ...] = ()
