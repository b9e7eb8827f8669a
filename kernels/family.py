"""What an operation family is: its workloads, what they cost, their inputs and the judge of their outputs.

A family is a package of :mod:`autotune_cli.kernels`; all that the program knows of its operations it asks of that:

- ``workload``: the one model of its workloads, with their names and table cells (:class:`.base.BaseWorkload`);
- ``family``: ``FAMILY``, a :class:`Family`: suites, cost and memory;
- ``problem``: the functions of :class:`Problems`, which need torch;
- ``backends``: a file each.

Importing this module, or a family's ``workload`` and ``family``, loads no torch; :meth:`Family.problems` does.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from autotune_cli.errors import BadFile
from autotune_cli.kernels.base import (
    BaseWorkload,
    CapturedScores,
    Cost,
    DeviceKind,
    Distribution,
    LengthPoint,
    Mode,
    Spread,
)
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.lengths import LengthDistribution
from autotune_cli.kernels.properties import Property, TieBreak
from autotune_cli.kernels.shapes import Wanted
from autotune_cli.kernels.steps import StepLayer, StepRequest
from autotune_cli.kernels.workload import FAMILY_OF, AnyWorkload, family_names, operations_of

if TYPE_CHECKING:
    import torch

_PACKAGE = __name__.rpartition(".")[0]
# Files of a family that describe its operations and decide neither what is computed nor what is right.
_DESCRIPTION = ("workload.py", "family.py", "cost.py", "grids.py", "steps.py")


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

    def inputs(self) -> Mapping[str, torch.Tensor]:
        """All tensors a candidate may read, by names of their own; one that changes them is wrong.

        A name stands for the same contents in :meth:`moved` problems.
        """
        ...

    def view(self) -> Problem:
        """The same tensors for one candidate: its :meth:`inputs` are those that this candidate asks for."""
        ...

    def check(self, output: Any) -> Verdict:
        """Judge a candidate's output: shape, dtype, NaN, values."""
        ...

    def moved(self) -> Problem:
        """The same inputs in other tensors, with the reference as far as it was computed."""
        ...

    def for_graphs(self) -> Problem:
        """The same tensors, for candidates that will be captured."""
        ...


class LengthsProblem(Problem, Protocol):
    """The problem of a workload that is measured at several lengths."""

    def at(self, point: LengthPoint) -> Problem:
        """The batch at other lengths, none of them longer: the same tensors, with a reference of its own. A candidate
        is given it to refill its buffers; see :class:`~autotune_cli.kernels.candidate.Prepared`.
        """
        ...


class BatchProblem(Problem, Protocol):
    """A problem whose requests can be computed in other batches."""

    @property
    def batch(self) -> int:
        """Requests."""
        ...

    def of_requests(self, requests: Sequence[int]) -> Problem:
        """Only these requests, in that order, also more than once: a batch of its own, in other tensors."""
        ...

    def rows_of(self, requests: Sequence[int]) -> Sequence[int]:
        """Rows of an output's tensors that are those requests'."""
        ...


class TiesProblem(Problem, Protocol):
    """A selection, of whose equal scores some are taken."""

    def check_ties(self, output: Any, tie_break: TieBreak) -> Verdict:
        """Does a right output take those at the smallest, or largest, positions?"""
        ...


class ReplayedProblem(Problem, Protocol):
    """A problem whose inputs may be refilled in place, as a server does before it replays a captured kernel."""

    def other_batch(self, *, same_lengths: bool = False) -> Problem:
        """Another batch of the same shape, unless told otherwise with other lengths: the same names of inputs, each as
        large.
        """
        ...


class Problems(Protocol):
    """The module ``problem`` of a family."""

    def cases(self, workload: AnyWorkload) -> tuple[str, ...]:
        """Names of the inputs on which a candidate must be right; it is timed on the first."""
        ...

    def make_problem(self, workload: AnyWorkload, case: str, device: str, seed: int) -> Problem:
        """Draw the inputs of a case; the same seed gives the same inputs."""
        ...


class SuiteLayer(Protocol):
    """What a suite asks of a kind of layer; see :class:`~autotune_cli.kernels.models.model.LayerKind`."""

    @property
    def window(self) -> int | None: ...


class SuiteModel(Protocol):
    """What a suite asks of a model; see :class:`~autotune_cli.kernels.models.model.Model`."""

    @property
    def layers(self) -> Sequence[SuiteLayer]: ...

    @property
    def has_full_layers(self) -> bool: ...

    @property
    def latent(self) -> object | None:
        """Its layers of multi-head latent attention; None: it has none."""
        ...

    @property
    def topk(self) -> int | None: ...

    @property
    def index_heads(self) -> int | None:
        """Query heads of its sparse indexer; None: it has none, or they aren't known."""
        ...

    @property
    def index_dim(self) -> int | None: ...

    @property
    def max_context(self) -> int | None: ...

    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class SuiteRequest:
    """What a family makes a suite's workloads from, beside the model."""

    device_kind: DeviceKind
    wanted: Wanted
    """Batches and contexts that the user gave."""
    geometries: tuple[Geometry, ...]
    """Of the model's kinds of attention layers on one GPU, in their order."""
    spread: Spread | None
    """None: as the grid has it."""
    scores: tuple[Distribution, ...]
    """Distributions on which a selection must be right."""
    latent: LatentGeometry | None = None
    """Of the model's layers of latent attention on one GPU, if it has such."""
    captured: CapturedScores | None = None
    """Scores from a file, for families that take them; they decide the shape."""
    lengths: LengthDistribution | None = None
    """Decode steps are measured over these lengths, one workload a batch size; None: at each context of their own."""


W = TypeVar("W", bound=BaseWorkload)


class Family(ABC, Generic[W]):
    """A family's operations, as far as they can be described without torch."""

    name: ClassVar[str]
    """Of its package, and the first word of its operations, or of what follows another family's name in them
    (``attention.mla_decode``). Users name all its operations by it."""
    default_model: ClassVar[str]
    """What is tuned on a GPU when only operations of this family are asked for."""
    short_names: ClassVar[tuple[str, ...]] = ()
    """Last words of operations that users may type alone; no two families may have the same."""
    on_request: ClassVar[tuple[str, ...]] = ()
    """Operations that a suite has only where a user names them: neither the family's name nor no name means them."""

    served: ClassVar[Mapping[str, str]] = {}
    """The operation that a server's step runs, by what the step does: ``decode`` (a token of each request), ``prefill``
    (new tokens only), ``extend`` (new tokens on a prefix). A step of another kind runs nothing of the family."""

    step_of: ClassVar[Mapping[str, str]] = {}
    """The kind of step that an operation is a part of, as a step's whole time is told: ``decode``, ``prefill`` (extends
    too), ``verify``; ``top-k`` where it is in several. Operations that are missing are in no step of a decoder."""

    @property
    def operations(self) -> tuple[str, ...]:
        """In the order in which a suite has them."""
        return operations_of(self.name)

    @property
    def usual(self) -> tuple[str, ...]:
        """The operations that a suite has unless the user says otherwise."""
        return tuple(operation for operation in self.operations if operation not in self.on_request)

    def default_mode(self, operation: str) -> Mode:
        """How a server on a GPU runs the operation."""
        return "eager"

    def run_for(self, model: SuiteModel, operation: str) -> str:
        """What a server of the model runs where most run the operation. A suite has it in its place, unless the user
        names the operation itself."""
        return operation

    @abstractmethod
    def cost(self, workload: W) -> Cost:
        """The least that any kernel must do."""

    @abstractmethod
    def memory_bytes(self, workload: W, page_layouts: int | None = None) -> int:
        """Bytes on the device, about. ``page_layouts``: copies of a paged cache; None: as many as backends try."""

    @abstractmethod
    def workloads(self, model: SuiteModel, operation: str, mode: Mode, request: SuiteRequest) -> Sequence[W]:
        """A suite's workloads of one operation in one mode; none where the model has no such thing, or nothing fits."""

    @abstractmethod
    def why_none(self, model: SuiteModel, operation: str) -> str:
        """For people: why :meth:`workloads` found none. Options are named as fields (:mod:`autotune_cli.fields`)."""

    properties: ClassVar[tuple[Property, ...]] = ("deterministic",)
    """What its kernels can be required to keep. Its problems are a :class:`BatchProblem` for ``batch-invariant``, a
    :class:`TiesProblem` for a tie-break."""

    takes_scores: ClassVar[bool] = False
    """Can its workloads be tuned on scores from a file?"""

    def captured(self, path: str) -> CapturedScores:
        """What a file of scores holds; imports torch.

        Raises:
            BadFile: no scores that the family takes.
        """
        raise BadFile(path=path, detail=f"{self.name} takes no scores")

    def checks(self, operation: str, device_kind: DeviceKind) -> Sequence[W]:
        """Workloads of an operation that have every known kind of input, to hold its backends against; none: the family
        has no kinds.
        """
        return ()

    step_modes: ClassVar[tuple[str, ...]] = ()
    """Forward modes of a server whose step runs the family's operations, by SGLang's names:
    SGLang's, which families may share, or words of the family's own. None: it isn't profiled live."""
    step_kernels: ClassVar[str] = "attention"
    """What such a step must show: a family of kernels (:mod:`autotune_cli.profiling.families`), or attention of any."""

    def step_layers(self, model: SuiteModel, request: StepRequest) -> Sequence[StepLayer]:
        """The kinds of layers that a step in one of ``step_modes`` runs; none where the model has no such layer.

        Raises:
            BadField: sizes that don't fit the mode.
        """
        return ()

    def why_no_step(self, model: SuiteModel) -> str:
        """For people: why :meth:`step_layers` found none."""
        return self.why_none(model, self.operations[0])

    def step_problem(self, layer: StepLayer, device: str, seed: int) -> Problem:
        """The inputs of a kind of layer; imports torch."""
        workload = cast("W", layer.workload)
        return self.make_problem(workload, self.cases(workload)[0], device, seed)

    @property
    def problems(self) -> Problems:
        """The family's module ``problem``; imports torch."""
        return cast(Problems, importlib.import_module(f"{_PACKAGE}.{self.name}.problem"))

    def cases(self, workload: W) -> tuple[str, ...]:
        """See :meth:`Problems.cases`."""
        return self.problems.cases(workload)

    def make_problem(self, workload: W, case: str, device: str, seed: int) -> Problem:
        """See :meth:`Problems.make_problem`."""
        return self.problems.make_problem(workload, case, device, seed)

    def sources(self) -> list[Path]:
        """The files that decide inputs, reference and judge, sorted: part of a result's identity."""
        folder = Path(__file__).parent / self.name
        return sorted(path for path in folder.glob("*.py") if path.name not in _DESCRIPTION)


@cache
def families() -> Mapping[str, Family[Any]]:
    """All families by name, sorted.

    Raises:
        TypeError: a module ``family`` has no ``FAMILY``, or one of another name.
    """
    found = {}
    for name in family_names():
        made = getattr(importlib.import_module(f"{_PACKAGE}.{name}.family"), "FAMILY", None)
        if not isinstance(made, Family) or made.name != name:
            raise TypeError(f"{_PACKAGE}.{name}.family must have FAMILY, a Family named {name!r}")
        found[name] = made
    return found


def family(operation: str) -> Family[Any]:
    """The family of ``attention.decode`` is that of the package ``autotune_cli.kernels.attention``."""
    return families()[FAMILY_OF[operation]]


def with_step(mode: str) -> list[Family[Any]]:
    """The families that run something in a server's step of that mode."""
    return [each for each in families().values() if mode in each.step_modes]


def step_modes() -> tuple[str, ...]:
    """Those of all families."""
    return tuple(dict.fromkeys(mode for each in families().values() for mode in each.step_modes))


def short_names() -> dict[str, tuple[str, ...]]:
    """What users may type for operations: a family's name, for its usual ones, or an operation's last word."""
    names: dict[str, tuple[str, ...]] = {}
    for each in families().values():
        names[each.name] = each.usual
        names |= {operation.partition(".")[2]: (operation,) for operation in each.operations if _short(each, operation)}
    return names


def _short(of: Family[Any], operation: str) -> bool:
    return operation.partition(".")[2] in of.short_names


def cost(workload: AnyWorkload) -> Cost:
    """The least that any kernel for a workload must do; see its family."""
    return family(workload.operation).cost(workload)


def memory_bytes(workload: AnyWorkload, page_layouts: int | None = None) -> int:
    """About how much device memory a workload needs, so that a suite that fits none is refused before it starts.

    ``page_layouts``: copies of a paged cache; None: as many as backends try.
    """
    return family(workload.operation).memory_bytes(workload, page_layouts)
