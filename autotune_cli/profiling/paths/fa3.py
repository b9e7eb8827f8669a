"""SGLang's default on Hopper, ``--attention-backend fa3``: FlashAttention-3 over pages in every mode.

Read in ``flashattention_backend.py`` of SGLang 0.5.16 and 0.5.23: the new tokens' keys are written first, then one
causal call covers all keys. Which candidate that is (splits, scheduler metadata) is data of the engine, see
:mod:`autotune_cli.kernels.engines`. Drafts of a tree (``--speculative-eagle-topk`` above 1) take two calls and a merge,
or over a window one call with a request for each draft. Forced paged, multimodal input and multi-item scoring change
nothing.
"""

from __future__ import annotations

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.profiling.path import PAGE_SIZE, PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import FA3, CandidateSpec, PathRequest, PhaseName

_SERVER = "sglang --attention-backend fa3"
_DETERMINISTIC = "--enable-deterministic-inference"
# Eager and captured steps alike.
_REASONS = {
    "decode": "one paged call",
    "extend": "one paged call over all keys",
    "mixed": "one paged call over all keys",
    "target_verify": "one paged call over all keys of a chain of drafts",
    "draft_extend": "one paged call over all keys",
    "draft_extend_v2": "one paged call over all keys",
}


# Of a tree; over a window, of which each draft sees other keys, it is one call instead.
_TREE = "a call over the cached keys, one over each draft's ancestors, and a merge"


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase: the same call in each.

    Raises:
        BadField: a mode that the path doesn't have, or kernels of FlashInfer's.
    """
    if request.mode not in _REASONS:
        text = "{mode} is no mode of {backend} (known: {known})"
        detail = Message(text, mode=request.mode, backend=Field("backend", FA3), known=", ".join(_REASONS))
        raise BadField(field="mode", detail=detail)
    if request.kernels != "auto":
        text = "chooses FlashInfer's kernels; {backend} runs FlashAttention-3"
        raise BadField(field="fa", detail=Message(text, backend=Field("backend", FA3)))
    if request.is_tree:
        return PhasePlan(
            name=phase,
            wanted=_tree("cascade", request.deterministic),
            shape="cascade",
            wanted_windowed=_tree("expanded", request.deterministic),
            planned="paged",
            executed="paged",
            reason=f"{request.mode}: {_TREE}",
            writes="before",
        )
    server = f"{_SERVER} {_DETERMINISTIC}" if request.deterministic else _SERVER
    return PhasePlan(
        name=phase,
        wanted=CandidateSpec(baseline=server),
        shape="paged",
        planned="paged",
        executed="paged",
        reason=f"{request.mode}: {_REASONS[request.mode]}",
        writes="before",
    )


def _tree(way: str, deterministic: bool) -> CandidateSpec:
    """The call without tables of the engine: those name candidates of operations that ``tune`` has."""
    splits = "1" if deterministic else "0"
    knobs = (("page_size", str(PAGE_SIZE)), ("num_splits", splits), ("pack_gqa", "none"))
    return CandidateSpec("sgl_kernel.fa3", knobs, (("tree", way),))


RULES = PathRules(
    plan,
    ("eager", "capture", "replay", "breakable"),
    {"piecewise": ("narrow",), "breakable": ("narrow",)},
    has_sinks=True,
    has_trees=True,
)
