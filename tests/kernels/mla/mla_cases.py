"""Small workloads of latent attention."""

from __future__ import annotations

import copy
from typing import Any

import torch

from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.mla.problem import MlaProblem
from autotune_cli.kernels.mla.workload import MlaWorkload

SMALL = {"num_heads": 4, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}

# Fewer than the longest requests have, more than the shortest.
SELECTED = 64


def workload(name: str, **latent: Any) -> MlaWorkload:
    new, context = {"decode": (1, 90), "extend": (7, 90), "prefill": (60, 60), "sparse_decode": (1, 90)}[name]
    fields: dict[str, Any] = {"operation": f"attention.mla_{name}", "batch": 3, "new": new, "context": context}
    if name == "sparse_decode":
        fields["index_topk"] = SELECTED
    return MlaWorkload.model_validate(fields | {"mode": "eager", "latent": SMALL | latent})


def shortened(problem: MlaProblem) -> MlaProblem:
    """The same tensors and pages, of which each request now has half its tokens; the buffers of lengths are changed."""
    before = problem.lengths
    half = tuple(max(1, tokens // 2) for tokens in before.kv)
    for pages in problem._pages.values():
        for lengths in (pages.seq_lens, pages.host_lengths):
            lengths.copy_(torch.tensor(half, dtype=torch.int32))
    other = copy.copy(problem)
    other.__dict__.pop("reference", None)
    other.lengths = Lengths(before.qo, half)
    parts = zip(problem._tokens.split(list(before.kv)), half, strict=True)
    other._tokens = torch.cat([tokens[:count] for tokens, count in parts])
    return other
