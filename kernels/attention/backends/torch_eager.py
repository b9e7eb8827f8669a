"""Attention written out in torch: two products and a softmax. Knows windows, softcaps, sinks; for CPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.backends import torch_sdpa
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

    KeyValues = Callable[[], tuple[torch.Tensor, torch.Tensor]]


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``block``: queries computed at once; small ones stay in the CPU's cache. A decode step has one."""
    for block in (1,) if workload.operation == "attention.decode" else (64, 256):
        yield {"block": block}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return "takes no FP8 queries" if workload.geometry.dtype == "float8_e4m3fn" else None


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    "attention.verify",
    "attention.cross",
    name="torch.eager",
    knobs=knobs,
    devices=("cpu",),
    unsupported=unsupported,
)
def prepare(problem: AttentionProblem, *, block: int) -> Prepared:
    import torch

    g = problem.geometry
    out = torch.empty_like(problem.q)
    sinks = None if problem.sinks is None else problem.sinks.view(g.num_kv_heads, g.group, 1, 1)

    def loads(of: AttentionProblem) -> Iterator[tuple[slice, KeyValues, torch.Tensor]]:
        for index, qo in enumerate(of.lengths.qo):
            start = int(of.qo_indptr[index])
            rows = slice(start, start + qo)
            load, loaded = torch_sdpa.key_value_source(of, index, rows)
            yield rows, load, torch_sdpa.seen(of, index, loaded)

    requests = list(loads(problem))

    def run() -> torch.Tensor:
        for rows, load, mask in requests:
            # [KV heads, 1, tokens, dim] against queries [KV heads, group, block, dim]
            k, v = (part.float().transpose(0, 1)[:, None] for part in load())
            for first in range(rows.start, rows.stop, block):
                part = slice(first, min(first + block, rows.stop))
                seen = mask[part.start - rows.start : part.stop - rows.start]
                q = problem.q[part] if g.q_dtype is None else problem.q[part].to(getattr(torch, g.q_dtype))
                q = q.float().view(-1, g.num_kv_heads, g.group, g.head_dim).permute(1, 2, 0, 3)
                scores = (q @ k.mT) * g.scale
                if g.softcap is not None:
                    scores = torch.tanh(scores / g.softcap) * g.softcap
                scores = scores.masked_fill(~seen, -math.inf)
                if sinks is not None:
                    # A key more, whose value counts for nothing.
                    scores = torch.cat([scores, sinks.expand(-1, -1, scores.shape[2], 1)], -1)
                weights = scores.softmax(-1)[..., : seen.shape[1]]
                out[part] = (weights @ v).permute(2, 0, 1, 3).flatten(1, 2)
        return out

    def refill(other: AttentionProblem) -> None:
        requests[:] = loads(other)

    return Prepared(run=run, refill=refill)
