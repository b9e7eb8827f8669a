"""What an operation family gives the engine: problems to run on, and a judge of their outputs.

A family is a package of :mod:`autotune_cli.kernels` with a module ``problem`` that has the two functions of
:class:`Family`. Importing this module loads no torch; :func:`family` does.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.workload import AnyWorkload


@dataclass(frozen=True)
class Verdict:
    """Is an output right? ``error`` over ``limit`` is wrong; both are in the family's ``measure``."""

    ok: bool
    error: float
    limit: float
    measure: str
    """What ``error`` is: ``error norm``, ``wrong indices in the worst row`` ..."""
    message: str = ""
    """For people, when wrong: where and how much."""


class Problem(Protocol):
    """Inputs of one case of a workload on one device, with their reference."""

    device: str
    """``cuda`` or ``cpu``."""
    graph: bool
    """True: candidates will be captured, so FlashInfer's wrappers must be made for CUDA graphs."""

    def inputs(self) -> list[torch.Tensor]:
        """All tensors a candidate may read; one that changes them is wrong."""
        ...

    def check(self, output: Any) -> Verdict:
        """Judge a candidate's output: shape, dtype, NaN, values."""
        ...

    def moved(self) -> Problem:
        """The same inputs in other tensors, with the reference as far as it was computed."""
        ...


class Family(Protocol):
    def cases(self, workload: AnyWorkload) -> tuple[str, ...]:
        """Names of the inputs on which a candidate must be right; it is timed on the first."""
        ...

    def make_problem(self, workload: AnyWorkload, case: str, device: str, seed: int) -> Problem:
        """Draw the inputs of a case; the same seed gives the same inputs."""
        ...


def family(operation: str) -> Family:
    """The family of ``attention.decode`` is the package ``autotune_cli.kernels.attention``."""
    module = importlib.import_module(f"autotune_cli.kernels.{operation.split('.')[0]}.problem")
    return cast(Family, module)
