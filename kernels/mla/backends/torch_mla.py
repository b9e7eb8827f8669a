"""Latent attention in torch, one request at a time: what there is on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.problem import LatentPages, MlaProblem

# All scores of a request are held, in float32 or the model's dtype; beyond this it is no candidate.
_MAX_SCORES_BYTES = 4 << 30


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    scores = max(qo * kv for qo, kv in zip(*workload.lengths, strict=True)) * workload.latent.num_heads * 4
    if scores > _MAX_SCORES_BYTES:
        return f"its scores of one request would take {scores / 2**30:.0f} GiB"
    return None


@register(
    "attention.mla_decode",
    "attention.mla_extend",
    name="torch.mla",
    knobs={"form": ("products", "sdpa")},
    devices=("cuda", "cpu"),
    unsupported=unsupported,
)
def prepare(problem: MlaProblem, *, form: str) -> Prepared:
    """``form``: two products and a softmax in float32, or scaled_dot_product_attention on the joined queries."""
    import torch

    out = torch.empty_like(problem.q_nope)
    attend = _products if form == "products" else _sdpa
    q, requests = problem.q, _requests(problem)
    scale, rank = problem.geometry.scale, problem.geometry.kv_lora_rank

    def run() -> torch.Tensor:
        for rows, load, mask in requests:
            tokens = load()
            out[rows] = attend(q[rows], tokens, rank, scale, mask)
        return out

    def refill(other: MlaProblem) -> None:
        requests[:] = _requests(other)

    # What is captured has the shapes of one step's lengths.
    return Prepared(run=run, refill=None if problem.graph else refill)


def _requests(problem: MlaProblem) -> list[tuple[slice, Callable[[], torch.Tensor], torch.Tensor | None]]:
    """Of each request its rows of queries, what gathers its tokens, and what its queries see; None: all."""
    import torch

    pages, requests = problem.paged(1), []
    for index, (qo, kv) in enumerate(zip(*problem.lengths, strict=True)):
        start = int(problem.qo_indptr[index])
        own = torch.arange(kv - qo, kv, device=problem.device)[:, None]
        mask = torch.arange(kv, device=problem.device)[None, :] <= own
        load = _loader(pages, index, problem)
        requests.append((slice(start, start + qo), load, None if qo == 1 else mask))
    return requests


def _loader(pages: LatentPages, index: int, problem: MlaProblem) -> Callable[[], torch.Tensor]:
    """Gathers a request's tokens [tokens, width] from the pages, in the model's dtype."""
    import torch

    flat, slots, dtype = pages.pool[:, 0], pages.tables[index].to(problem.device), problem.dtype
    if flat.dtype == torch.float8_e4m3fn:
        return lambda: flat.view(torch.uint8).index_select(0, slots).view(flat.dtype).to(dtype)
    return lambda: flat.index_select(0, slots)


def _products(
    q: torch.Tensor, tokens: torch.Tensor, rank: int, scale: float, mask: torch.Tensor | None
) -> torch.Tensor:
    """[queries, heads, rank]"""
    wide = tokens.float()
    scores = (q.float() @ wide.T) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -math.inf)
    return scores.softmax(-1) @ wide[:, :rank]


def _sdpa(q: torch.Tensor, tokens: torch.Tensor, rank: int, scale: float, mask: torch.Tensor | None) -> torch.Tensor:
    """[queries, heads, rank]; heads are queries of one KV head."""
    from torch.nn.functional import scaled_dot_product_attention

    queries, heads, width = q.shape
    seen = None if mask is None else mask.repeat_interleave(heads, dim=0)[None, None]
    keys = tokens[None, None]
    mixed = scaled_dot_product_attention(
        q.reshape(1, 1, queries * heads, width), keys, keys[..., :rank], attn_mask=seen, scale=scale
    )
    return mixed.view(queries, heads, rank)
