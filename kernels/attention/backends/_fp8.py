"""FP8 queries and the scales of an FP8 cache, as FlashInfer's wrappers take them.

Rules marked [S] were read in FlashInfer's source, 0.6.18. No import of torch or FlashInfer here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.geometry import Geometry

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem


def fp8_queries(geometry: Geometry, path: str) -> bool:
    """Does the path take queries in FP8, as fa3 does? The others take 16 bits, which is more precise than asked.

    fa3's FP8 kernel wants queries and cache in one dtype [S], fa2's no FP8 queries [S].
    """
    return geometry.q_dtype is not None and path == "fa3"


@dataclass(frozen=True)
class Call:
    """What ``run`` of a wrapper is given beside the cache and its outputs."""

    queries: Callable[[], torch.Tensor]
    """Makes the queries, on each call: a server pays for the cast as well."""
    scales: tuple[torch.Tensor, ...] = ()
    """Positional, after the cache: scales of query heads and KV heads (k, v), float32 [heads]. FP8 queries only."""
    keywords: dict[str, Any] = field(default_factory=dict)


def call(problem: AttentionProblem, path: str) -> Call:
    """Queries and scales for ``run`` on a paged cache.

    fa3's FP8 kernel applies scales that come as tensors, one a head, at no cost [S]. For the other kernels the wrapper
    folds ``k_scale`` into the softmax scale, and multiplies the output by ``v_scale`` in a kernel more (BatchAttention
    in its own) [S]. Without scales, none are passed.
    """
    import torch

    g = problem.geometry
    if not fp8_queries(g, path):
        keywords = {} if g.q_dtype is None else {"k_scale": problem.k_scale, "v_scale": problem.v_scale}
        return Call(lambda: problem.q, keywords=keywords)
    rounded = torch.empty(problem.q.shape, dtype=getattr(torch, str(g.q_dtype)), device=problem.q.device)
    heads = ((1.0, g.num_qo_heads), (problem.k_scale, g.num_kv_heads), (problem.v_scale, g.num_kv_heads))
    scales = tuple(torch.full((count,), scale, dtype=torch.float32, device=problem.q.device) for scale, count in heads)
    return Call(lambda: rounded.copy_(problem.q), scales)
