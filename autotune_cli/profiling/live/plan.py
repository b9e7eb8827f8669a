"""From what a user asks for to the path that a worker runs: layers, lengths, and what each phase must show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.attention.workload import AttentionWorkload, Geometry, Lengths
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.live.records import PHASES, Layer, PathSpec, PhaseName, PhasePlan, Plant, Wanted
from autotune_cli.profiling.padding import PadMode, capture_sizes, captured_size
from autotune_cli.profiling.resolve import Mode, Resolution, Route, resolve
from autotune_cli.profiling.verdict import Shape

Kernels = Literal["auto", "fa2", "fa3"]
"""Which of FlashInfer's kernels: as SGLang chooses (paged and decode fa2, ragged what FlashInfer's ``auto`` says)."""

KERNELS: tuple[Kernels, ...] = get_args(Kernels)
SGLANG = "flashinfer"
TOPK = "topk"
# The page size SGLang plans with, whatever its pool's pages are.
_PAGE_SIZE = 1
# What a batch looks like unless the user says so.
_BATCH: dict[str, int] = {"decode": 8, "topk": 16}
_NEW: dict[str, int] = {"target_verify": 4, "draft_extend": 4, "draft_extend_v2": 4, "dllm_extend": 32}
_CONTEXT: dict[str, int] = {"decode": 2048, "topk": 65536}
# A captured prefill of SGLang: only these modes are padded into piecewise graphs.
_PIECEWISE: tuple[str, ...] = ("extend", "mixed")


@dataclass(frozen=True)
class Ask:
    """A live profile as a user asks for it; None: not given."""

    mode: Mode | Literal["topk"]
    prefix: bool = True
    forced_paged: bool = False
    deterministic: bool = False
    multimodal: bool = False
    multi_item_scoring: bool = False
    backend: str = SGLANG
    kernels: Kernels = "auto"
    phases: tuple[PhaseName, ...] | None = None
    batch: int | None = None
    new: int | None = None
    context: int | None = None
    calls: int | None = None
    pad_mode: PadMode = "fake-request"
    bitwise: bool = False


def parse_phases(text: str | None) -> tuple[PhaseName, ...] | None:
    """Phases with commas between, in the order in which they are run.

    Raises:
        UnknownName: none of them.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in PHASES:
            raise UnknownName("phase", word, PHASES)
    if not words:
        raise BadField(field="phases", detail=f"names no phase (known: {', '.join(PHASES)})")
    return tuple(phase for phase in PHASES if phase in words)


def plan_path(
    ask: Ask, model: Model, geometries: Sequence[Geometry], seed: int = 0, plants: tuple[Plant, ...] = ()
) -> tuple[PathSpec, list[str]]:
    """The path to run, and notes for people.

    Raises:
        BadField: phases or sizes that don't fit the mode.
        NothingToRun: the mode runs no attention, or the model has none.
    """
    if ask.mode == "idle":
        raise NothingToRun(detail=Message("{mode}: no request, so no attention runs", mode=Field("mode", "idle")))
    layers = _topk_layers(ask, model) if ask.mode == TOPK else _layers(ask, geometries)
    if not layers:
        raise NothingToRun(detail=f"{model.name}: {_why_none(ask, model)}")
    calls = max(2, len(layers)) if ask.calls is None else ask.calls
    if calls < len(layers):
        raise BadField(field="calls", detail=f"{calls} is below {len(layers)}, the number of kinds of layers")
    is_path = ask.backend == SGLANG and ask.mode != TOPK
    can_pad = is_path and ask.mode in _PIECEWISE
    notes: list[str] = []
    if ask.phases is not None and "piecewise" in ask.phases and not can_pad:
        what = Field("mode", ask.mode) if ask.mode not in _PIECEWISE else Field("backend", ask.backend)
        text = "piecewise graphs are for SGLang's extend and mixed, not for {what}"
        raise BadField(field="phases", detail=Message(text, what=what))
    tokens = sum(layers[0].lengths.qo) if layers[0].lengths else 0
    static = captured_size(tokens, capture_sizes(), at_most_double=ask.pad_mode == "narrow") if can_pad else None
    phases = ask.phases or tuple(phase for phase in PHASES if phase != "piecewise" or static)
    if "piecewise" in phases and static is None:
        detail = f"{tokens} tokens fit no captured size (SGLang runs them eagerly): leave piecewise out"
        raise BadField(field="phases", detail=detail)
    if can_pad and static is None and ask.phases is None:
        notes.append(f"{tokens} tokens fit no captured size: no piecewise phase, as in SGLang")
    if static == tokens and "piecewise" in phases:
        notes.append(f"{tokens} tokens are a captured size: nothing is padded")
    if ask.deterministic:
        notes.append("deterministic: the path is chosen so; fixed split sizes are left out")
    plans = tuple(_phase(phase, ask) for phase in phases) if is_path else _other_phases(phases, ask)
    spec = PathSpec(
        title=f"{model.name} {ask.mode} {layers[0].workload.shape}",
        layers=layers,
        phases=plans,
        calls=calls,
        page_size=_PAGE_SIZE,
        pad_mode=ask.pad_mode,
        static_tokens=static or 0,
        bitwise=ask.bitwise,
        plants=plants,
        seed=seed,
    )
    return spec, notes


def parse_backend(text: str) -> Wanted:
    """``flashinfer.decode`` or ``flashinfer.decode(path=fa3,page_size=16)``, as result files name candidates.

    Raises:
        BadField: not of that form.
    """
    match = re.fullmatch(r"\s*([\w.\-]+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise BadField(field="backend", detail=f"{text!r} is neither NAME nor NAME(knob=value,...)")
    knobs = []
    for part in filter(None, (word.strip() for word in (match[2] or "").split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise BadField(field="backend", detail=f"{part!r} is not of the form knob=value")
        knobs.append((name.strip(), value.strip()))
    return Wanted(match[1], tuple(knobs))


def _phase(phase: PhaseName, ask: Ask) -> PhasePlan:
    """A phase of SGLang's path."""
    mode = ask.mode
    assert mode != "topk"
    found = resolve(
        mode,
        prefix=ask.prefix,
        graph=phase in ("capture", "replay"),
        piecewise=phase == "piecewise",
        deterministic=ask.deterministic,
        multimodal=ask.multimodal,
        multi_item_scoring=ask.multi_item_scoring,
        forced_paged=ask.forced_paged,
    )
    return PhasePlan(
        name=phase,
        wanted=_wanted(found.executed, ask.prefix, ask.kernels),
        shape=_shape(found, ask.prefix),
        planned=found.planned,
        executed=found.executed,
        reason=found.reason,
        writes="after" if found.executed == "ragged" else "before",
    )


def _other_phases(phases: tuple[PhaseName, ...], ask: Ask) -> tuple[PhasePlan, ...]:
    """A backend of the registry, run as it is."""
    # Top-k has no path of SGLang's to choose: a backend must be named, or the default of `tune` is taken.
    wanted = Wanted("") if ask.backend == SGLANG else parse_backend(ask.backend)
    shape: Shape = "topk" if ask.mode == TOPK else "paged" if ask.forced_paged else "any"
    return tuple(PhasePlan(phase, wanted, shape) for phase in phases)


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


def _why_none(ask: Ask, model: Model) -> str:
    if ask.mode == TOPK:
        return "it has no sparse indexer, so no top-k"
    return "; ".join(model.notes) or "no attention layer that is known here"


def _topk_layers(ask: Ask, model: Model) -> tuple[Layer, ...]:
    if model.topk is None:
        return ()
    if ask.new is not None:
        raise BadField(field="new", detail="a selection has no new tokens")
    rows, width = ask.batch or _BATCH[TOPK], ask.context or _CONTEXT[TOPK]
    return (Layer(TopkWorkload.select(rows=rows, width=width, k=model.topk)),)


def _layers(ask: Ask, geometries: Sequence[Geometry]) -> tuple[Layer, ...]:
    batch = ask.batch or _BATCH.get(ask.mode, 4)
    if ask.mode == "decode":
        if ask.new not in (None, 1):
            raise BadField(field="new", detail="a decode step has one new token a request")
        new, context = 1, ask.context or _CONTEXT["decode"]
    else:
        new = ask.new or _NEW.get(ask.mode, 128)
        context = ask.context or (new + 1024 if ask.prefix else new)
        if ask.prefix and context <= new:
            text = "{keys} keys in all leave no prefix beside {new} new tokens ({without}: none)"
            detail = Message(text, keys=context, new=new, without=Field("prefix", False))
            raise BadField(field="context", detail=detail)
        if not ask.prefix and context != new:
            raise BadField(field="context", detail=f"without a prefix it is the number of new tokens, {new}")
    found = []
    for geometry in geometries:
        workload = AttentionWorkload.step(geometry, batch=batch, new=new, context=context, decode=ask.mode == "decode")
        found.append(Layer(workload, _lengths(ask.mode, workload)))
    return tuple(found)


def _lengths(mode: str, workload: AttentionWorkload) -> Lengths:
    """What a batch of the mode holds."""
    qo, kv = workload.lengths
    prefixes = [keys - new for new, keys in zip(qo, kv, strict=True)]
    if mode == "mixed":  # every second request decodes
        qo = tuple(1 if number % 2 else new for number, new in enumerate(qo))
    elif mode in ("target_verify", "dllm_extend"):  # a fixed number of draft tokens, or of a block's
        qo = (workload.new,) * workload.batch
    else:  # of a draft, too, each request's accepted tokens are a number of their own
        return Lengths(qo, kv)
    return Lengths(qo, tuple(new + cached for new, cached in zip(qo, prefixes, strict=True)))
