"""Latent attention over selected tokens in torch: they are gathered, -1 is masked. What there is on a CPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.problem import SelectedProblem


@register(
    "attention.mla_sparse_decode",
    name="torch.mla_sparse",
    knobs={"block": (1, 8)},
    devices=("cuda", "cpu"),
)
def prepare(problem: SelectedProblem, *, block: int) -> Prepared:
    """``block``: requests computed at once. Slots that are none are read as slot 0, and have no weight."""
    import torch

    out, q, slots = torch.empty_like(problem.q_nope), problem.q, problem.slots(1)
    flat, scale, rank = problem.paged(1).pool[:, 0], problem.geometry.scale, problem.geometry.kv_lora_rank
    none = (slots < 0)[:, None]
    kept = slots.clamp(min=0)
    bits = flat.view(torch.uint8) if flat.dtype == torch.float8_e4m3fn else flat

    def run() -> torch.Tensor:
        for first in range(0, len(slots), block):
            part = slice(first, first + block)
            tokens = bits[kept[part]].view(flat.dtype).float()
            scores = (q[part].float() @ tokens.mT * scale).masked_fill(none[part], -math.inf)
            out[part] = scores.softmax(-1) @ tokens[..., :rank]
        return out

    return Prepared(run=run)
