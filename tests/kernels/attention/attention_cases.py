"""Small attention workloads and an attention that can be broken on purpose, for the tests beside this file."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from autotune_cli.kernels.attention.paging import spans
from autotune_cli.kernels.attention.problem import AttentionProblem, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry

CPU_SHAPES: dict[str, dict[str, int]] = {
    "attention.decode": {"batch": 3, "context": 90},
    "attention.prefill": {"batch": 2, "new": 70, "context": 70},
    "attention.extend": {"batch": 2, "new": 20, "context": 90},
    "attention.verify": {"batch": 2, "new": 9, "context": 90, "eagle_topk": 3},
    "attention.cross": {"batch": 2, "new": 20, "context": 90},
}
OPERATIONS = ("attention.decode", "attention.prefill", "attention.extend")
"""Those of one causal mask; test_attention_verify.py has the other one."""
FP8_QUERIES = {"kv_dtype": "float8_e4m3fn", "q_dtype": "float8_e4m3fn"}


def workload(operation: str, mode: str = "eager", **geometry: Any) -> AttentionWorkload:
    heads = {"num_qo_heads": 4, "num_kv_heads": 2, "head_dim": 64}
    return AttentionWorkload(
        operation=operation, geometry=Geometry(**(heads | geometry)), mode=mode, **CPU_SHAPES[operation]
    )


def problem(operation: str, case: str = "edges", seed: int = 3, **geometry: Any) -> AttentionProblem:
    return make_problem(workload(operation, **geometry), case, "cpu", seed)


def logical(made: AttentionProblem, page_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cached keys and values [sum(kv), KV heads, head dim] in float64, read token by token through the block tables."""
    pages = made.paged(page_size)
    parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for row, length in zip(pages.block_tables, pages.lengths, strict=True):
        for token in range(length):
            page = int(row[token // page_size])
            for part, cache in zip(parts, (pages.k, pages.v), strict=True):
                part.append(cache[page, token % page_size].double())
    return torch.stack(parts[0]), torch.stack(parts[1])


def attend(
    made: AttentionProblem,
    *,
    offset: int = 0,
    scale: float | None = None,
    softcap: bool = True,
    window: int | None = None,
    lost: int = 0,
    stale_page: int = 0,
    round_queries: bool = True,
    k_scale: float | None = None,
    v_scale: float | None = None,
    sinks: Literal["right", "none", "reversed", "in every head"] = "right",
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(out, lse)`` of the textbook formula in float32, right by default.

    Args:
        offset: shifts the causal mask: 1 lets each query see its successor, -1 hides its own key.
        scale: instead of 1 / sqrt(head dim).
        softcap: False leaves the cap out.
        window: instead of the geometry's.
        lost: keys dropped at the end of each request.
        stale_page: page size; one page in the middle of a request of a few pages holds other tokens.
        round_queries: False leaves queries in ``dtype``, which is more precise than a geometry with ``q_dtype`` asks.
        k_scale, v_scale: instead of the problem's.
        sinks: left out, taken from the wrong head, or from head 0 for all.
    """
    g = made.geometry
    k = made._keys.float() * (made.k_scale if k_scale is None else k_scale)
    v = made._values.float() * (made.v_scale if v_scale is None else v_scale)
    q = made.q.to(torch.float8_e4m3fn) if g.q_dtype is not None and round_queries else made.q
    used = None if sinks == "none" else made.sinks
    if used is not None and sinks != "right":
        used = used.flip(0) if sinks == "reversed" else used[:1].expand(len(used))
    if stale_page:
        # One token of random keys weighs about 1 / sqrt(keys) of a row: hopeless to see among thousands.
        start, stop = next(span for span in spans(made.lengths.kv) if span[1] - span[0] >= 17 + 2 * stale_page)
        page = start + (stop - start) // 2 // stale_page * stale_page
        for tensor in (k, v):
            tensor[page : page + stale_page] = torch.randn(tensor[page : page + stale_page].shape)
    window = g.window_left if window is None else window
    outs, lses = [], []
    for (qa, qb), (ka, kb) in zip(spans(made.lengths.qo), spans(made.lengths.kv), strict=True):
        queries = q[qa:qb].float().transpose(0, 1)
        keys = k[ka:kb].repeat_interleave(g.group, 1).transpose(0, 1)
        values = v[ka:kb].repeat_interleave(g.group, 1).transpose(0, 1)
        scores = queries @ keys.mT * (g.scale if scale is None else scale)
        if g.softcap is not None and softcap:
            scores = g.softcap * torch.tanh(scores / g.softcap)
        own = torch.arange(kb - ka - (qb - qa), kb - ka)[:, None]
        key = torch.arange(kb - ka)[None]
        seen = (key <= own + offset) & (key < max(1, kb - ka - lost))
        if window is not None:
            seen &= key >= own - window
        seen[:, 0] |= ~seen.any(1)
        scores = scores.masked_fill(~seen, -math.inf)
        if used is not None:
            # A key more, whose value is 0.
            scores = torch.cat([scores, used[:, None, None].expand(-1, qb - qa, 1)], -1)
            values = torch.nn.functional.pad(values, (0, 0, 0, 1))
        outs.append((scores.softmax(-1) @ values).transpose(0, 1))
        lses.append(scores.logsumexp(-1).transpose(0, 1) * math.log2(math.e))
    return torch.cat(outs).to(made.dtype), torch.cat(lses)
