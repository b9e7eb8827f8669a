"""A backend of the registry, run as it is: nothing of SGLang's is planned or padded."""

from __future__ import annotations

from autotune_cli.kernels.family import with_step
from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import SGLANG, CandidateSpec, PathRequest, PhaseName, parse_backend
from autotune_cli.profiling.verdict import PathShape


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    """A phase with the named candidate.

    Raises:
        BadField: the backend's name is none.
    """
    # Top-k has no path of SGLang's to choose: a backend must be named, or the default of `tune` is taken.
    wanted = CandidateSpec() if request.backend == SGLANG else parse_backend(request.backend)
    kernels = {family.step_kernels for family in with_step(request.mode)}
    shape: PathShape = "topk" if kernels == {"topk"} else "paged" if request.forced_paged else "any"
    return PhasePlan(phase, wanted, shape)


RULES = PathRules(plan, ("eager", "capture", "replay"), {})
