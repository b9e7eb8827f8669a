"""The exact latent attention, in both forms, that candidates are compared with, and how close they must come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autotune_cli.kernels.attention import reference as attention
from autotune_cli.kernels.attention.reference import AttentionReference
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.geometry import Geometry, LatentGeometry

# Score elements held at once; about three copies of them exist.
_SCORES = 1 << 26


def compute_reference(
    geometry: LatentGeometry, lengths: Lengths, q_nope: torch.Tensor, q_pe: torch.Tensor, tokens: torch.Tensor
) -> AttentionReference:
    """Latent attention of each request, causal and aligned to the end; float64 on CPU, float32 on CUDA.

    Args:
        q_nope: [sum(qo), heads, kv_lora_rank], the up-projection of keys absorbed.
        q_pe: [sum(qo), heads, qk_rope_head_dim].
        tokens: [sum(kv), width], any float dtype (FP8 is widened, which is exact).

    Returns:
        ``out`` [sum(qo), heads, kv_lora_rank], before the up-projection of values, and base-2 ``lse``.
    """
    wide = torch.float32 if q_nope.device.type == "cuda" else torch.float64
    rank = geometry.kv_lora_rank
    out = torch.empty(q_nope.shape, dtype=wide, device=q_nope.device)
    lse = torch.empty(q_nope.shape[:2], dtype=wide, device=q_nope.device)
    queries, keys = 0, 0
    with _full_precision():
        for qo, kv in zip(*lengths, strict=True):
            cached = tokens[keys : keys + kv].to(wide)
            block = max(1, min(qo, _SCORES // (geometry.num_heads * kv)))
            for start in range(0, qo, block):
                stop = min(start + block, qo)
                rows = slice(queries + start, queries + stop)
                seen = cached[: kv - qo + stop]
                # [block, heads, keys]
                scores = q_nope[rows].to(wide) @ seen[:, :rank].T + q_pe[rows].to(wide) @ seen[:, rank:].T
                own = torch.arange(kv - qo + start, kv - qo + stop, device=out.device)[:, None]
                hidden = torch.arange(len(seen), device=out.device)[None, :] > own
                scores.mul_(geometry.scale).masked_fill_(hidden[:, None], -math.inf)
                total = torch.logsumexp(scores, dim=-1)
                out[rows] = scores.sub_(total[..., None]).exp_() @ seen[:, :rank]
                lse[rows] = total * math.log2(math.e)
            queries, keys = queries + qo, keys + kv
    return AttentionReference(out, lse)


def compute_plain_reference(
    geometry: LatentGeometry, lengths: Lengths, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> AttentionReference:
    """Plain attention of each request, causal and aligned to the end; float64 on CPU, float32 on CUDA.

    Args:
        q: [sum(qo), heads, head_dim].
        k: [sum(kv), heads, head_dim].
        v: [sum(kv), heads, v_head_dim].

    Returns:
        ``out`` [sum(qo), heads, v_head_dim] and base-2 ``lse``.
    """
    wide = torch.float32 if q.device.type == "cuda" else torch.float64
    out = torch.empty(*q.shape[:2], geometry.v_head_dim, dtype=wide, device=q.device)
    lse = torch.empty(q.shape[:2], dtype=wide, device=q.device)
    queries, keys = 0, 0
    with _full_precision():
        for qo, kv in zip(*lengths, strict=True):
            # [heads, keys, dim]
            k_wide, v_wide = (part[keys : keys + kv].to(wide).transpose(0, 1) for part in (k, v))
            block = max(1, min(qo, _SCORES // (geometry.num_heads * kv)))
            for start in range(0, qo, block):
                stop = min(start + block, qo)
                rows, seen = slice(queries + start, queries + stop), kv - qo + stop
                scores = torch.bmm(q[rows].to(wide).transpose(0, 1), k_wide[:, :seen].mT).mul_(geometry.scale)
                own = torch.arange(kv - qo + start, seen, device=q.device)[:, None]
                scores.masked_fill_(torch.arange(seen, device=q.device)[None, :] > own, -math.inf)
                total = torch.logsumexp(scores, dim=-1)
                out[rows] = torch.bmm(scores.sub_(total[..., None]).exp_(), v_wide[:, :seen]).transpose(0, 1)
                lse[rows] = (total * math.log2(math.e)).T
            queries, keys = queries + qo, keys + kv
    return AttentionReference(out, lse)


@contextmanager
def _full_precision() -> Iterator[None]:
    """TF32 has 10 mantissa bits: no reference for float16."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def judge(output: Any, reference: AttentionReference, geometry: LatentGeometry, lengths: Lengths) -> Verdict:
    """Is an output (``out`` or ``(out, lse)``, base 2) right? With attention's measures and limits.

    Those limits hold here, as kernels round the same two things: the weights to the dtype before the second product,
    and the output. Done so in torch at 8 heads, the edge case is off by 1.8e-3 in bfloat16 and 2.3e-4 in float16, its
    worst row by 2.6e-3 and 3.4e-4: an eighth of the limits or less. Of wrong ones, a softmax scale by the cached width
    (576) instead of the head dim (192) is off by 3.6e-1, a product without the rotated part by 2.6e-1, a mask that is
    shifted by a key by 2.2e-1.
    """
    return attention.judge(output, reference, _as_plain(geometry), lengths)


def _as_plain(geometry: LatentGeometry) -> Geometry:
    """What the judge of attention asks for: heads, dtypes. All heads share one cached vector."""
    return Geometry(
        num_qo_heads=geometry.num_heads,
        num_kv_heads=1,
        head_dim=geometry.kv_lora_rank,
        dtype=geometry.dtype,
        kv_dtype=geometry.kv_dtype,
    )
