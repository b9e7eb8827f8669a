"""What ran in each phase: kernels counted by name and put into families. The judge sees nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from autotune_cli.profiling.classify import Classifier
from autotune_cli.profiling.families import FamilyName
from autotune_cli.profiling.unfused import role_code, softmax_between_matmuls

Demand = Literal["strict", "lenient", "ignored"]
"""``strict``: a phase that was asked for, attention must have run in it. ``lenient``: one that was found, it must hold
nothing forbidden. ``ignored``: shown only."""


@dataclass(frozen=True, slots=True)
class KernelUse:
    """A kernel in a phase."""

    name: str
    launches: int
    us: float
    """Sum of the durations."""
    family: FamilyName
    library: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlanCost:
    """What the host did inside ranges called ``plan``."""

    us: float = 0.0
    calls: int = 0
    waits: int = 0
    """Host synchronisations."""
    copies_to_host: int = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase on one GPU."""

    name: str
    demand: Demand
    kernels: tuple[KernelUse, ...] = ()
    where: str = ""
    """The GPU or rank, where there are several."""
    captured: int = 0
    """Kernel launches recorded into a graph: they run at the replay, not here."""
    graph_launches: int = 0
    empty_graph_launches: int = 0
    """Graph launches whose kernels are not in the trace."""
    lost_launches: int = 0
    """Launches without a kernel: the recording ended before it ran, or lost it."""
    waits: int = 0
    copies_to_host: int = 0
    launch_us: float = 0.0
    """Host time in launch calls."""
    plan: PlanCost | None = None
    from_graphs: tuple[KernelUse, ...] = ()
    """Those of the kernels that graph launches ran."""
    facts: tuple[str, ...] = ()
    """For people: what else was checked, and held."""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.where})" if self.where else self.name

    def launches(self, *families: FamilyName) -> int:
        """Kernels of these families; of all without any."""
        return sum(use.launches for use in self.kernels if not families or use.family in families)

    def us(self, *families: FamilyName) -> float:
        """Kernel time in microseconds, summed."""
        return sum(use.us for use in self.kernels if not families or use.family in families)

    def families(self) -> dict[FamilyName, tuple[int, float]]:
        """Launches and time of each family, in the order in which they are met."""
        found: dict[FamilyName, tuple[int, float]] = {}
        for use in self.kernels:
            launches, us = found.get(use.family, (0, 0.0))
            found[use.family] = (launches + use.launches, us + use.us)
        return found

    def with_injected(self, use: KernelUse) -> Phase:
        """The same phase with one kernel more: what the self-check judges."""
        return replace(self, kernels=(*self.kernels, use))


@dataclass(frozen=True, slots=True)
class Recording:
    """All phases of a trace, and what is to be known about them."""

    source: str
    phases: tuple[Phase, ...]
    devices: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def phase_of_names(name: str, kernels: Sequence[str], classify: Classifier, captured: bool = False) -> Phase:
    """A phase from kernel names alone: the nodes of a captured graph, in their order.

    With ``captured`` the launches count as captured. A softmax between two matmuls is dense attention here too.
    """
    codes = np.array([role_code(classify(kernel).role) for kernel in kernels], dtype=np.int64)
    dense = softmax_between_matmuls(codes, np.zeros_like(codes)).tolist()
    counted: dict[tuple[str, bool], int] = {}
    for key in zip(kernels, dense, strict=True):
        counted[key] = counted.get(key, 0) + 1
    uses = tuple(make_use(kernel, launches, 0.0, classify, odd) for (kernel, odd), launches in counted.items())
    return Phase(name, "strict", uses, captured=len(kernels) if captured else 0)


def make_use(name: str, launches: int, us: float, classify: Classifier, dense: bool = False) -> KernelUse:
    """A classified kernel. ``dense``: a softmax that stands between two matmuls."""
    if dense:
        return KernelUse(name, launches, us, "dense", "torch", "matmul + softmax + matmul: attention without a kernel")
    kind = classify(name)
    return KernelUse(name, launches, us, kind.family, kind.library, kind.reason)
