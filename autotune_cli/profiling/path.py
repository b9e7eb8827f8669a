"""The path that a worker is to run: what each phase plans and runs, and what must be seen in it.

Plain data without tensors, since it crosses to the worker. SGLang's rules (:mod:`autotune_cli.sglang`) decide what a
phase runs, unless the request names a backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autotune_cli.errors import BadOption
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.workload import Geometry
from autotune_cli.profiling.layers import Layer, layers_of
from autotune_cli.profiling.request import (
    PHASES,
    SGLANG,
    TOPK,
    Injected,
    Kernels,
    PathRequest,
    PhaseName,
    Wanted,
    parse_backend,
)
from autotune_cli.profiling.verdict import Shape
from autotune_cli.sglang.padding import PadMode, capture_sizes, captured_size
from autotune_cli.sglang.resolve import Resolution, Route, resolve

# The page size SGLang plans with, whatever its pool's pages are.
_PAGE_SIZE = 1
# A captured prefill of SGLang: only these modes are padded into piecewise graphs.
_PIECEWISE: tuple[str, ...] = ("extend", "mixed")


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
    injected: tuple[Injected, ...] = ()
    """Each asks for one more recording, with that kernel in every phase."""
    seed: int = 0


def plan_path(request: PathRequest, model: Model, geometries: Sequence[Geometry]) -> tuple[PathSpec, list[str]]:
    """The path to run, and notes for people.

    Args:
        geometries: of the model's kinds of attention layers.

    Raises:
        BadOption: phases or sizes that don't fit the mode.
        NothingToRun: the mode runs no attention, or the model has none.
    """
    layers = layers_of(request, model, geometries)
    calls = max(2, len(layers)) if request.calls is None else request.calls
    if calls < len(layers):
        raise BadOption(option="--calls", detail=f"{calls} is below {len(layers)}, the number of kinds of layers")
    phases, static, notes = _phases(request, layers[0].new_tokens)
    if request.deterministic:
        notes.append("deterministic: the path is chosen so; fixed split sizes are left out")
    spec = PathSpec(
        title=f"{model.name} {request.mode} {layers[0].workload.shape}",
        layers=layers,
        phases=tuple(_sglangs(phase, request) if request.is_sglangs else _backends(phase, request) for phase in phases),
        calls=calls,
        page_size=_PAGE_SIZE,
        pad_mode=request.pad_mode,
        static_tokens=static,
        bitwise=request.bitwise,
        injected=request.injected,
        seed=request.seed,
    )
    return spec, notes


def _phases(request: PathRequest, tokens: int) -> tuple[tuple[PhaseName, ...], int, list[str]]:
    """The phases to run, the tokens that a piecewise graph is captured for (0: there is none), and notes.

    Args:
        tokens: new tokens of all requests.

    Raises:
        BadOption: a piecewise phase was asked for, and there is none.
    """
    can_pad = request.is_sglangs and request.mode in _PIECEWISE
    asked = request.phases is not None and "piecewise" in request.phases
    notes: list[str] = []
    if asked and not can_pad:
        what = f"--backend {request.backend}" if request.mode in _PIECEWISE else f"--mode {request.mode}"
        raise BadOption(option="--phases", detail=f"piecewise graphs are for SGLang's extend and mixed, not for {what}")
    static = captured_size(tokens, capture_sizes(), at_most_double=request.pad_mode == "narrow") if can_pad else None
    phases = request.phases or tuple(phase for phase in PHASES if phase != "piecewise" or static)
    if asked and static is None:
        detail = f"{tokens} tokens fit no captured size (SGLang runs them eagerly): leave piecewise out"
        raise BadOption(option="--phases", detail=detail)
    if can_pad and static is None and request.phases is None:
        notes.append(f"{tokens} tokens fit no captured size: no piecewise phase, as in SGLang")
    if static == tokens and "piecewise" in phases:
        notes.append(f"{tokens} tokens are a captured size: nothing is padded")
    return phases, static or 0, notes


def _sglangs(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase of SGLang's path."""
    assert request.mode != "topk"
    found = resolve(
        request.mode,
        prefix=request.prefix,
        graph=phase in ("capture", "replay"),
        piecewise=phase == "piecewise",
        deterministic=request.deterministic,
        multimodal=request.multimodal,
        multi_item_scoring=request.multi_item_scoring,
        forced_paged=request.forced_paged,
    )
    return PhasePlan(
        name=phase,
        wanted=_wanted(found.executed, request.prefix, request.kernels),
        shape=_shape(found, request.prefix),
        planned=found.planned,
        executed=found.executed,
        reason=found.reason,
        writes="after" if found.executed == "ragged" else "before",
    )


def _backends(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase of a backend of the registry, run as it is."""
    # Top-k has no path of SGLang's to choose: a backend must be named, or the default of `tune` is taken.
    wanted = Wanted("") if request.backend == SGLANG else parse_backend(request.backend)
    shape: Shape = "topk" if request.mode == TOPK else "paged" if request.forced_paged else "any"
    return PhasePlan(phase, wanted, shape)


def _wanted(route: Route, prefix: bool, kernels: Kernels) -> Wanted:
    """SGLang's paged and decode wrappers are fixed to fa2; its ragged one is FlashInfer's ``auto``."""
    page = ("page_size", str(_PAGE_SIZE))
    if route == "decode":
        return Wanted("flashinfer.decode", (page, ("path", "fa3")) if kernels == "fa3" else (page,))
    paged = "fa3" if kernels == "fa3" else "fa2"
    if route == "paged":
        return Wanted("flashinfer.paged", (("path", paged), page))
    if prefix:
        ragged = () if kernels == "auto" else (("ragged", kernels),)
        return Wanted("flashinfer.ragged_paged_merge", (*ragged, ("paged", paged), page))
    return Wanted("flashinfer.ragged", () if kernels == "auto" else (("path", kernels),))


def _shape(found: Resolution, prefix: bool) -> Shape:
    if found.executed != "ragged":
        return "paged"
    return "pair" if prefix else "ragged"
