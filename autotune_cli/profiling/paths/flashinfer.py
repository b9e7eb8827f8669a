"""SGLang with ``--attention-backend flashinfer``: :mod:`autotune_cli.sglang.resolve` says which route is taken."""

from __future__ import annotations

from autotune_cli.profiling.path import PAGE_SIZE, PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import CandidateSpec, Kernels, PathRequest, PhaseName
from autotune_cli.profiling.verdict import Shape
from autotune_cli.sglang.resolve import Resolution, Route, resolve


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase by SGLang's rules."""
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


RULES = PathRules(
    plan,
    ("eager", "capture", "replay", "piecewise"),
    {"piecewise": ("fake-request", "narrow"), "breakable": ("narrow",)},
)


def _wanted(route: Route, prefix: bool, kernels: Kernels) -> CandidateSpec:
    """SGLang's paged and decode wrappers are fixed to fa2; its ragged one is FlashInfer's ``auto``."""
    page = ("page_size", str(PAGE_SIZE))
    if route == "decode":
        return CandidateSpec("flashinfer.decode", (page, ("path", "fa3")) if kernels == "fa3" else (page,))
    paged = "fa3" if kernels == "fa3" else "fa2"
    if route == "paged":
        return CandidateSpec("flashinfer.paged", (("path", paged), page))
    if prefix:
        ragged = () if kernels == "auto" else (("ragged", kernels),)
        return CandidateSpec("flashinfer.ragged_paged_merge", (*ragged, ("paged", paged), page))
    return CandidateSpec("flashinfer.ragged", () if kernels == "auto" else (("path", kernels),))


def _shape(found: Resolution, prefix: bool) -> Shape:
    if found.executed != "ragged":
        return "paged"
    return "pair" if prefix else "ragged"
