"""``torch.topk``: SGLang's ``torch`` top-k backend for sparse attention, and the default on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register
from autotune_cli.kernels.topk.backends._select import as_select

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@register(
    "topk.select",
    name="torch.topk",
    knobs={"sorted": (True, False)},
    requires=("torch",),
    devices=("cuda", "cpu"),
)
def prepare(problem: TopkProblem, sorted: bool) -> Callable[[], torch.Tensor]:
    import torch

    kept = min(problem.k, problem.workload.width)

    def pick(scores: torch.Tensor) -> torch.Tensor:
        return torch.topk(scores, kept, dim=1, sorted=sorted).indices

    return as_select(problem, pick, descending=sorted)
