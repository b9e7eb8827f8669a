"""Latent attention's plain form in torch, one request at a time: what there is on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.plain import PlainProblem


@register("attention.mla_prefill", name="torch.mla_prefill", devices=("cuda", "cpu"))
def prepare(problem: PlainProblem) -> Prepared:
    """scaled_dot_product_attention, with a kernel that takes keys and values of two widths.

    On a GPU the efficient one does; the math kernel would hold all scores of a request, and cuDNN's makes a plan for
    each length, which takes long.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    out = torch.empty(*problem.q.shape[:2], problem.geometry.v_head_dim, dtype=problem.dtype, device=problem.device)
    starts, ends = problem.qo_indptr.tolist(), problem.kv_indptr.tolist()
    requests = []
    for index, (qo, kv) in enumerate(zip(*problem.lengths, strict=True)):
        rows, keys = slice(starts[index], starts[index] + qo), slice(ends[index], ends[index] + kv)
        # [1, heads, tokens, dim], views.
        mixed, q, k, v = (
            part.transpose(0, 1)[None] for part in (out[rows], problem.q[rows], problem.k[keys], problem.v[keys])
        )
        own = torch.arange(kv - qo, kv, device=problem.device)[:, None]
        mask = None if qo == kv else torch.arange(kv, device=problem.device)[None, :] <= own
        requests.append((mixed, q, k, v, mask))
    scale = problem.geometry.scale
    other = SDPBackend.EFFICIENT_ATTENTION if problem.q.is_cuda else SDPBackend.MATH

    def run() -> torch.Tensor:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, other]):
            for mixed, q, k, v, mask in requests:
                causal = mask is None
                mixed.copy_(scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale))
        return out

    return Prepared(run=run)
