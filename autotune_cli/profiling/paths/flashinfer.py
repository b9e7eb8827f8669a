"""SGLang with ``--attention-backend flashinfer``: :mod:`autotune_cli.sglang.resolve` says which route is taken."""

from __future__ import annotations

from typing import cast

from autotune_cli.profiling.path import PAGE_SIZE, PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import CandidateSpec, PathRequest, PhaseName
from autotune_cli.profiling.verdict import PathShape
from autotune_cli.sglang.resolve import ForwardMode, Resolution, Route, resolve

_DETERMINISTIC = "sglang --attention-backend flashinfer --enable-deterministic-inference"
_GRAPHS = ("capture", "replay")
# Modes whose paged plan has SGLang's fixed split; a verified or extended draft is planned as usual.
_SPLIT = ("extend", "mixed", "dllm_extend")


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase by SGLang's rules."""
    found = resolve(
        cast("ForwardMode", request.mode),
        prefix=request.prefix,
        graph=phase in _GRAPHS,
        piecewise=phase == "piecewise",
        deterministic=request.deterministic,
        multimodal=request.multimodal,
        multi_item_scoring=request.multi_item_scoring,
        forced_paged=request.forced_paged,
    )
    return PhasePlan(
        name=phase,
        wanted=_fixed(phase, found.executed, request) or _wanted(found.executed, request),
        shape=_shape(found, request.prefix),
        planned=found.planned,
        executed=found.executed,
        reason=found.reason if request.eagle_topk is None else f"{found.reason}, under the mask of its tree",
        writes="after" if found.executed == "ragged" else "before",
    )


def _why_not(phase: PhaseName, request: PathRequest) -> str:
    """SGLang disables splits in a deterministic decode graph, which reads entries that nobody wrote."""
    if phase in _GRAPHS and request.mode == "decode" and request.deterministic and request.kernels != "fa3":
        return "a deterministic decode graph has no splits, and may then touch illegal memory (FlashInfer #5176)"
    return ""


RULES = PathRules(
    plan,
    ("eager", "capture", "replay", "piecewise"),
    {"piecewise": ("fake-request", "narrow"), "breakable": ("narrow",)},
    _why_not,
    has_trees=True,
)


def _fixed(phase: PhaseName, route: Route, request: PathRequest) -> CandidateSpec | None:
    """What deterministic inference runs with fixed splits. A captured graph has none, and fa3 never splits."""
    if not request.deterministic or request.kernels == "fa3" or phase in _GRAPHS:
        return None
    if route == "decode" or (route == "paged" and request.mode in _SPLIT):
        return CandidateSpec(baseline=_DETERMINISTIC)
    return None


def _wanted(route: Route, request: PathRequest) -> CandidateSpec:
    """SGLang's paged and decode wrappers are fixed to fa2; its ragged one is FlashInfer's ``auto``.

    Drafts of EAGLE come with a mask, chains too.
    """
    kernels = request.kernels
    page = ("page_size", str(PAGE_SIZE))
    if route == "decode":
        return CandidateSpec("flashinfer.decode", (page, ("path", "fa3")) if kernels == "fa3" else (page,))
    paged = "fa3" if kernels == "fa3" else "fa2"
    if route == "paged":
        masked = () if request.eagle_topk is None else (("tree", True),)
        return CandidateSpec("flashinfer.paged", (("path", paged), page), masked)
    if request.prefix:
        ragged = () if kernels == "auto" else (("ragged", kernels),)
        return CandidateSpec("flashinfer.ragged_paged_merge", (*ragged, ("paged", paged), page))
    return CandidateSpec("flashinfer.ragged", () if kernels == "auto" else (("path", kernels),))


def _shape(found: Resolution, prefix: bool) -> PathShape:
    if found.executed != "ragged":
        return "paged"
    return "pair" if prefix else "ragged"
