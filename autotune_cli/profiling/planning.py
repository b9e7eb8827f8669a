"""From a request to the path that a worker runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.models.model import Model
from autotune_cli.profiling.layers import layers_of
from autotune_cli.profiling.path import PAGE_SIZE, PathSpec, PhasePlan
from autotune_cli.profiling.paths import candidate, fa3, flashinfer, mla
from autotune_cli.profiling.paths.rules import PADDED_MODES, PathRules
from autotune_cli.profiling.request import FA3, IN_PIECES, SGLANG, PathRequest, PhaseName
from autotune_cli.sglang.padding import PadMode, capture_sizes, captured_size
from autotune_cli.sglang.resolve import MODES

# What the field ``backend`` calls a path; anything else is a candidate's name.
_PATHS = {SGLANG: flashinfer.RULES, FA3: fa3.RULES}


def plan_path(
    request: PathRequest, model: Model, geometries: Sequence[Geometry], latent: LatentGeometry | None = None
) -> tuple[PathSpec, list[str]]:
    """The path to run, and notes for people.

    Args:
        geometries: of the model's kinds of attention layers.
        latent: of its layers of latent attention, if it has such.

    Raises:
        BadField: phases or sizes that don't fit the mode.
        NothingToRun: the mode runs no attention, or the model has none.
    """
    rules = _rules(request, latent)
    notes: list[str] = []
    if not rules.has_sinks and any(geometry.sinks for geometry in geometries):
        geometries = [geometry.model_copy(update={"sinks": False}) for geometry in geometries]
        notes.append("attention sinks are left out: the kernels of this path have none")
    notes += _tree_notes(request, rules, geometries)
    layers = layers_of(request, model, geometries, latent)
    calls = max(2, len(layers)) if request.calls is None else request.calls
    if calls < len(layers):
        raise BadField(field="calls", detail=f"{calls} is below {len(layers)}, the number of kinds of layers")
    phases, more = _phases(request, rules, layers[0].new_tokens)
    notes += more
    if all(geometry.window_left is not None for geometry in geometries):
        phases = tuple(replace(plan, shape="paged") if plan.shape == "cascade" else plan for plan in phases)
    spec = PathSpec(
        title=f"{model.name} {request.mode} {layers[0].workload.shape}",
        layers=layers,
        phases=phases,
        calls=calls,
        page_size=mla.page_size(request) if rules is mla.RULES else PAGE_SIZE,
        bitwise=request.bitwise,
        injected=request.injected,
        seed=request.seed,
    )
    return spec, notes


def _rules(request: PathRequest, latent: LatentGeometry | None) -> PathRules:
    """Those of the path that is asked for.

    Raises:
        BadField: a path of attention, for what is no forward mode.
    """
    if request.mode in MODES and latent is not None and request.backend in mla.BACKENDS:
        return mla.RULES
    if request.mode in MODES:
        return _PATHS.get(request.backend, candidate.RULES)
    if request.backend in _PATHS and request.backend != SGLANG:
        text = "{backend} is a path of attention, {mode} has none"
        detail = Message(text, backend=request.backend, mode=Field("mode", request.mode))
        raise BadField(field="backend", detail=detail)
    return candidate.RULES


def _tree_notes(request: PathRequest, rules: PathRules, geometries: Sequence[Geometry]) -> list[str]:
    """Notes on the trees of drafts that are asked for.

    Raises:
        BadField: they don't go with the mode, or with the path.
    """
    if request.eagle_topk is None:
        return []
    if request.mode != "target_verify":
        detail = Message("goes with {mode}", mode=Field("mode", "verify"))
        raise BadField(field="eagle_topk", detail=detail)
    if not rules.has_trees:
        detail = Message("{backend} verifies no trees of drafts", backend=Field("backend", request.backend))
        raise BadField(field="eagle_topk", detail=detail)
    if request.backend == SGLANG and any(geometry.window_left is not None for geometry in geometries):
        return [
            "SGLang plans drafts over a window with the first keys of a request (0.5.23); here they see the "
            "last ones, with the same kernels"
        ]
    return []


def _phases(request: PathRequest, rules: PathRules, tokens: int) -> tuple[tuple[PhasePlan, ...], list[str]]:
    """The phases to run, and notes.

    Args:
        tokens: new tokens of all requests.

    Raises:
        BadField: a phase that was asked for can't be, or a way of padding that it doesn't have.
    """
    plans: list[PhasePlan] = []
    notes: list[str] = []
    pads = rules.pads(request)
    for name in request.phases or rules.phases:
        if reason := rules.why_not(name, request):
            if request.phases is not None:
                raise BadField(field="phases", detail=f"no {name}: {reason}")
            notes.append(f"no capture and replay: {reason}")
            continue
        if name not in IN_PIECES:
            plans.append(rules.plan(name, request))
            continue
        if name not in pads:
            if request.phases is None:
                continue
            what = Field("backend", request.backend) if request.mode in PADDED_MODES else Field("mode", request.mode)
            text = "{graphs} graphs are for SGLang's extend and mixed, not for {what}"
            raise BadField(field="phases", detail=Message(text, graphs=name, what=what))
        mode = _pad_mode(name, pads[name], request)
        static = captured_size(tokens, capture_sizes(), at_most_double=mode == "narrow")
        if static is not None:
            notes += [f"{tokens} tokens are a captured size: nothing is padded"] if static == tokens else []
            plans.append(replace(rules.plan(name, request), pad_mode=mode, static_tokens=static))
        elif request.phases is None:
            notes.append(f"{tokens} tokens fit no captured size: no {name} phase, as in SGLang")
        else:
            detail = f"{tokens} tokens fit no captured size (SGLang runs them eagerly): leave {name} out"
            raise BadField(field="phases", detail=detail)
    return tuple(plans), list(dict.fromkeys(notes))


def _pad_mode(phase: PhaseName, known: Sequence[PadMode], request: PathRequest) -> PadMode:
    """How a phase is padded: as asked for, or as the path usually does. Breakable graphs have one way.

    Raises:
        BadField: a piecewise graph has no such way on this path.
    """
    asked = request.pad_mode
    if asked is not None and asked in known:
        return asked
    if asked is None or phase != "piecewise":
        return known[0]
    text = "{asked} is not how {backend} pads (known: {known})"
    backend = Field("backend", request.backend)
    raise BadField(field="pad_mode", detail=Message(text, asked=asked, backend=backend, known=", ".join(known)))
