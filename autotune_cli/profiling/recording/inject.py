"""Kernels that must be noticed: run on purpose, to show that the verdict can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import Candidate, prepared
from autotune_cli.profiling.request import Injected

_TOKENS = 64
_GEOMETRY = Geometry(num_qo_heads=8, num_kv_heads=8, head_dim=128, dtype="bfloat16")
# fa2: the paged path has built its module already.
_RAGGED = Candidate("flashinfer.ragged", (("path", "fa2"),))


def injected(family: Injected, problem: Any) -> Callable[[], Any]:
    """A launch of a kernel of that family on a small batch; of the problem's heads where it is an attention problem."""
    geometry = getattr(problem, "geometry", None)
    if not isinstance(geometry, Geometry):
        geometry = _GEOMETRY
    if family == "dense":
        return _dense(geometry)
    plain = geometry.model_copy(update={"kv_dtype": None, "q_dtype": None, "sinks": False})
    workload = AttentionWorkload.step(plain, batch=1, new=_TOKENS, context=_TOKENS)
    return prepared(_RAGGED, AttentionProblem(workload, workload.lengths, "cuda", 0)).run


def _dense(geometry: Geometry) -> Callable[[], Any]:
    """torch's SDPA, whichever kernel it takes."""
    shape = (1, geometry.num_qo_heads, _TOKENS, geometry.head_dim)
    q, k, v = (torch.randn(shape, device="cuda").to(getattr(torch, geometry.dtype)) for _ in range(3))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
