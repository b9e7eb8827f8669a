"""The exact attention that candidates are compared with, and how close they must come."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from autotune_cli.kernels.attention.masks import seen_keys
from autotune_cli.kernels.attention.trees import Tree
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.geometry import Geometry

# Score elements held at once; about three copies of them exist (scores, weights, mask): below 1.6 GiB in float32.
_SCORES = 1 << 27
# Elements of an output compared at once: what a CPU's caches hold, and on a GPU what takes as long as its launches.
_ELEMENTS = {"cuda": 1 << 25}
_ELEMENTS_ELSE = 1 << 20


@dataclass(frozen=True)
class AttentionReference:
    """``out`` [queries, heads, head dim] and base-2 ``lse`` [queries, heads]; float64 on CPU, float32 on CUDA.

    ``lse`` is the logarithm of the softmax's denominator, with the sink in it where the geometry has sinks: so
    FlashInfer's sink variants and FA3 return it.
    """

    out: torch.Tensor
    lse: torch.Tensor

    @cached_property
    def squares(self) -> torch.Tensor:
        """[queries, heads] float64: squared norms of the rows of ``out``."""
        return torch.cat([part.square().sum(-1).double() for part in self.out.split(_queries_at_once(self.out))])


@dataclass(frozen=True)
class Limits:
    """``norm``: ||out - ref|| / ||ref||. ``row``: the same of the worst (query, head). ``lse``: worst, absolute."""

    norm: float
    row: float
    lse: float


# Measured on kernels that are right (torch's CPU flash and math kernels, FlashInfer's design is the same): bfloat16
# 1.5e-3 to 2.2e-3, float16 1.9e-4 to 2.7e-4, float32 4e-7. They round the weights to the dtype before the second
# product, and the output: about 2^-9 (2^-12) / sqrt(3) each. The limits are 4 to 7 times that, for partial
# results rounded before a merge. A row has head_dim independent roundings, so the worst row is hardly worse than all
# rows; it gets 3 times the limit for rows that many cancelling terms make small. float32 leaves room for the GPU's
# other order of summation, not for TF32.
LIMITS = {
    "bfloat16": Limits(1e-2, 3e-2, 1e-2),
    "float16": Limits(2e-3, 6e-3, 5e-3),
    "float32": Limits(1e-5, 1e-4, 1e-4),
}
# Kernels may compute in the cache's format: XQA's Hopper kernel rounds queries and weights to e4m3 as well. Done so in
# torch, the edge case comes out 2.5e-2 off, its worst row 1e-1: no more than storing the cache in FP8 has cost already.
FP8_LIMITS = Limits(6e-2, 2e-1, 1e-1)
# FP8 queries too: every kernel rounds the same queries to the same numbers, and the weights to e4m3 (FA3 times 2^8,
# FlashInfer's fa3 and XQA times 448). Done so in torch: 1.8e-2, worst row 4.2e-2, without roundings 2e-3. A kernel that
# keeps its queries in 16 bits is more precise than asked, and off by the reference's rounding, about 0.04 in a logit:
# 4.2e-2, worst row 1.6e-1, log-sum-exp 2.0e-1. So the edge case, where masks are decided, has queries that e4m3 holds,
# and FP8_LIMITS; elsewhere twice these. Ignoring k_scale is 1.3e-1 off at least (v_scale 2.0e-1, sinks 4.3e-1, a window
# 1.8e-1).
FP8_QUERY_LIMITS = Limits(1e-1, 4e-1, 4e-1)
# FlashInfer caps logits with tanh.approx.f32, off by 2^-11 of the value (PTX ISA), whatever the output's dtype. With
# such a tanh in torch and caps of 20 to 50: 2e-3, worst row 1.1e-2, log-sum-exp 1.9e-2. Uncapped: worst row 2.5e-1.
TANH_LIMITS = Limits(5e-3, 3e-2, 6e-2)


def limits(geometry: Geometry, exact_queries: bool = False) -> Limits:
    """How far a right kernel may be off; ``exact_queries``: they are numbers of the geometry's ``q_dtype`` already."""
    base = FP8_LIMITS if geometry.cache_dtype == "float8_e4m3fn" else LIMITS[geometry.dtype]
    if geometry.q_dtype is not None and not exact_queries:
        base = FP8_QUERY_LIMITS
    if geometry.softcap is None or geometry.dtype == "float32":
        return base
    return Limits(max(base.norm, TANH_LIMITS.norm), max(base.row, TANH_LIMITS.row), max(base.lse, TANH_LIMITS.lse))


def compute_reference(
    geometry: Geometry,
    lengths: Lengths,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    sinks: torch.Tensor | None = None,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
    trees: Sequence[Tree] | None = None,
    causal: bool = True,
) -> AttentionReference:
    """Attention of each request, causal and aligned to the end: query ``i`` sees keys up to ``kv - qo + i``.

    Args:
        q: [sum(qo), query heads, head dim]; rounded to the geometry's ``q_dtype`` first, if it has one.
        k, v: [sum(kv), KV heads, head dim], any float dtype (FP8 is widened, which is exact).
        sinks: [query heads], logits that take part in the softmax's denominator.
        k_scale, v_scale: what ``k`` and ``v`` are multiplied by.
        trees: of each request, where its queries are drafts that see their ancestors instead; see :mod:`.trees`.
        causal: False: every query sees all keys of its request, of which there may be fewer than queries; no window.

    Scratch memory is bounded (about 1.6 GiB on a GPU), plus one request's widened keys and values.
    """
    wide = torch.float32 if q.device.type == "cuda" else torch.float64
    heads, kv_heads, dim = geometry.num_qo_heads, geometry.num_kv_heads, geometry.head_dim
    if geometry.q_dtype is not None:
        q = q.to(getattr(torch, geometry.q_dtype))
    sink = None if sinks is None else sinks.to(wide)[:, None]
    out = torch.empty(q.shape, dtype=wide, device=q.device)
    lse = torch.empty(q.shape[:2], dtype=wide, device=q.device)
    queries, keys = 0, 0
    with _full_precision():
        for request, (qo, kv) in enumerate(zip(*lengths, strict=True)):
            tree = None if trees is None else trees[request]
            # [kv heads, tokens, dim]
            k_wide = k[keys : keys + kv].to(wide).transpose(0, 1)
            v_wide = v[keys : keys + kv].to(wide).transpose(0, 1)
            block = max(1, min(qo, _SCORES // (heads * kv)))
            for start in range(0, qo, block):
                stop = min(start + block, qo)
                rows = slice(queries + start, queries + stop)
                low, high = (0, kv) if tree is not None or not causal else _visible(geometry, qo, kv, start, stop)
                grouped = q[rows].to(wide).view(stop - start, kv_heads, geometry.group, dim)
                # [kv heads, group * block, dim]
                grouped = grouped.permute(1, 2, 0, 3).reshape(kv_heads, -1, dim)
                scores = torch.bmm(grouped, k_wide[:, low:high].transpose(1, 2)).mul_(geometry.scale * k_scale)
                if geometry.softcap is not None:
                    scores = scores.div_(geometry.softcap).tanh_().mul_(geometry.softcap)
                if tree is not None:
                    hidden = ~seen_keys(tree, kv - qo, geometry.window_left, q.device)[start:stop]
                elif causal:
                    hidden = _hidden(geometry, qo, kv, start, stop, low, high, q.device)
                else:
                    hidden = torch.zeros(stop - start, high - low, dtype=torch.bool, device=q.device)
                scores = scores.view(heads, stop - start, high - low).masked_fill_(hidden, -math.inf)
                total = torch.logsumexp(scores, dim=-1)
                if sink is not None:
                    total = torch.logaddexp(total, sink)
                weights = scores.sub_(total[..., None]).exp_().view(kv_heads, -1, high - low)
                mixed = torch.bmm(weights, v_wide[:, low:high]).mul_(v_scale).view(heads, stop - start, dim)
                out[rows] = mixed.transpose(0, 1)
                lse[rows] = (total * math.log2(math.e)).transpose(0, 1)
            queries, keys = queries + qo, keys + kv
    return AttentionReference(out, lse)


def _visible(geometry: Geometry, qo: int, kv: int, start: int, stop: int) -> tuple[int, int]:
    """Keys that any of the queries [start, stop) of a request sees: [low, high)."""
    low = 0 if geometry.window_left is None else max(0, kv - qo + start - geometry.window_left)
    return low, kv - qo + stop


def _hidden(
    geometry: Geometry, qo: int, kv: int, start: int, stop: int, low: int, high: int, device: torch.device
) -> torch.Tensor:
    """[stop - start, high - low] bool: key not seen by query."""
    own = torch.arange(kv - qo + start, kv - qo + stop, device=device)[:, None]
    key = torch.arange(low, high, device=device)[None, :]
    hidden = key > own
    if geometry.window_left is not None:
        hidden |= key < own - geometry.window_left
    return hidden


@contextmanager
def _full_precision() -> Iterator[None]:
    """TF32 has 10 mantissa bits: no reference for float16."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def judge(
    output: Any, reference: AttentionReference, geometry: Geometry, lengths: Lengths, *, exact_queries: bool = False
) -> Verdict:
    """Is an output (``out`` or ``(out, lse)``, base 2) right? ``exact_queries``: see :func:`limits`.

    The verdict carries the measure that comes closest to its limit, or lies farthest over it; an output of the
    wrong shape or with a NaN has the limit 0.
    """
    out, lse = output if isinstance(output, tuple | list) and len(output) == 2 else (output, None)
    wanted = {"out": (out, reference.out.shape, getattr(torch, geometry.dtype))}
    if lse is not None:
        wanted["lse"] = (lse, reference.lse.shape, torch.float32)
    for name, (tensor, shape, dtype) in wanted.items():
        wrong = _wrong_form(tensor, shape, dtype, reference.out.device)
        if wrong:
            return Verdict(False, 1.0, 0.0, "form of the output", f"{name} {wrong}")
    bound = limits(geometry, exact_queries)
    norms = _row_norms(out, reference)
    if norms.broken:
        message = f"NaN or infinity in {norms.broken} of {norms.rows} rows, first {_place(norms.worst_at, lengths)}"
        return Verdict(False, float(norms.broken), 0.0, "rows with NaN or infinity", message)
    found = [
        (norms.overall, bound.norm, "error norm", f"||out - ref|| / ||ref|| is {norms.overall:.2e}"),
        (
            norms.worst,
            bound.row,
            "error norm of the worst row",
            f"{_place(norms.worst_at, lengths)} is off by {norms.worst:.2e} of its norm",
        ),
    ]
    if lse is not None:
        off = (lse.to(reference.lse.dtype) - reference.lse).abs().nan_to_num_(nan=1e30, posinf=1e30)
        where = int(off.argmax())
        at = divmod(where, geometry.num_qo_heads)
        most = float(off.view(-1)[where])
        found.append(
            (most, bound.lse, "log-sum-exp error", f"log-sum-exp is off by {most:.2e} at {_place(at, lengths)}")
        )
    error, limit, measure, message = max(found, key=lambda item: item[0] / item[1])
    if error <= limit:
        return Verdict(True, error, limit, measure)
    return Verdict(False, error, limit, measure, f"{message}, over the limit of {limit:g}")


def _wrong_form(tensor: Any, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> str:
    if not isinstance(tensor, torch.Tensor):
        return f"is a {type(tensor).__name__}, not a tensor"
    if tensor.shape != shape:
        return f"has shape {list(tensor.shape)}, not {list(shape)}"
    if tensor.dtype != dtype:
        return f"is {tensor.dtype}, not {dtype}"
    if tensor.device.type != device.type:
        return f"is on {tensor.device}, not on {device}"
    return ""


@dataclass(frozen=True)
class _Norms:
    overall: float
    worst: float
    worst_at: tuple[int, int]
    """(query token, head): of the worst row, or of the first broken one."""
    broken: int
    rows: int


def _row_norms(out: torch.Tensor, reference: AttentionReference) -> _Norms:
    """Squares are summed a chunk of queries at a time, in the reference's precision."""
    tokens, heads, _ = reference.out.shape
    off = torch.empty(tokens, heads, dtype=torch.float64, device=out.device)
    step = _queries_at_once(reference.out)
    for start in range(0, tokens, step):
        part = slice(start, start + step)
        exact = reference.out[part]
        off[part] = (out[part].to(exact.dtype) - exact).square().sum(-1).double()
    size = reference.squares
    # A row whose reference is far below the usual size is measured against 1 % of the usual size.
    relative = (off / torch.maximum(size, 1e-4 * size.mean())).sqrt().view(-1)
    bad = ~off.isfinite().view(-1)
    # In one copy, as each of its own waits for the device.
    found = (bad.sum(), bad.to(torch.int8).argmax(), relative.argmax(), relative.max(), off.sum() / size.sum())
    broken, first, at, worst, share = torch.stack([value.double() for value in found]).tolist()
    if broken:
        return _Norms(math.inf, math.inf, divmod(int(first), heads), int(broken), off.numel())
    return _Norms(math.sqrt(share), worst, divmod(int(at), heads), 0, off.numel())


def _queries_at_once(out: torch.Tensor) -> int:
    """Of an output [queries, heads, head dim]."""
    return max(1, _ELEMENTS.get(out.device.type, _ELEMENTS_ELSE) // (out.shape[1] * out.shape[2]))


def _place(at: tuple[int, int], lengths: Lengths) -> str:
    """``request 3 (17 new on 64), token 5, head 2``."""
    token, head = at
    ends = list(itertools.accumulate(lengths.qo))
    request = bisect.bisect_right(ends, token)
    qo, kv = lengths.qo[request], lengths.kv[request]
    return f"request {request} ({qo} new on {kv - qo}), token {token - (ends[request] - qo)}, head {head}"
