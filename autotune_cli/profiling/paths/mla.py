"""SGLang over a model of latent attention (MLA): decode and extend absorbed, over pages; new tokens without a prefix
over keys and values that were projected up.

Which candidate a server's backend runs is data of the engine, see :mod:`autotune_cli.kernels.engines`; so is where it
does something else with such a batch, which is then the phase's error.
"""

from __future__ import annotations

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.profiling.path import PAGE_SIZE, PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import CandidateSpec, PathRequest, PhaseName

BACKENDS = ("flashinfer", "fa3", "flashmla", "cutlass_mla")
"""SGLang's that have candidates."""
# Pages that decode kernels are made for; FlashInfer's and FlashAttention's read those that SGLang plans with.
_PAGE_SIZES = {"flashmla": 64, "cutlass_mla": 128}
_DETERMINISTIC = "--enable-deterministic-inference"
_GRAPHS = ("capture", "replay")


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase: one call of the backend's.

    Raises:
        BadField: kernels of FlashInfer's, which choose nothing here.
    """
    if request.kernels != "auto":
        text = "chooses FlashInfer's kernels of {mha}; {backend} has its own rule for latent attention (MLA)"
        detail = Message(text, mha="MHA and GQA", backend=Field("backend", request.backend))
        raise BadField(field="fa", detail=detail)
    server = f"sglang --attention-backend {request.backend}"
    wanted = CandidateSpec(baseline=f"{server} {_DETERMINISTIC}" if request.deterministic else server)
    if _is_plain(request):
        # Its kernels are FlashInfer's ragged ones or FlashAttention's over contiguous keys: no shape in common.
        return PhasePlan(phase, wanted, "attention", reason="new tokens over their own keys, projected up")
    return PhasePlan(phase, wanted, "paged", reason=f"{request.mode}: one absorbed call over pages", writes="before")


def _is_plain(request: PathRequest) -> bool:
    return request.mode == "extend" and not request.prefix


def _why_not(phase: PhaseName, request: PathRequest) -> str:
    if phase in _GRAPHS and _is_plain(request):
        return "SGLang's captured prefill graphs are absorbed, and so is an extend on a prefix"
    return ""


def page_size(request: PathRequest) -> int:
    """Tokens of a page that the new tokens are written into."""
    return _PAGE_SIZES.get(request.backend, PAGE_SIZE) if request.mode == "decode" else PAGE_SIZE


RULES = PathRules(plan, ("eager", "capture", "replay"), {}, _why_not)
