"""An indexer's scores by torch, request after request, then ``torch.topk`` and the transform: our reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register
from autotune_cli.kernels.topk.backends import torch_topk_transform

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@register("topk.indexer", name="torch.indexer", requires=("torch",), devices=("cuda", "cpu"))
def prepare(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """Products in float32 of all keys in a request's pages, whatever its length, so that a capture holds for all."""
    inputs, layout = problem.indexer, problem.layout
    assert inputs is not None
    assert layout is not None
    assert layout.page_table is not None
    table, width = layout.page_table, problem.workload.width
    scores = problem.scores.new_empty(problem.scores.shape)
    select = torch_topk_transform.prepare(replace(problem, scores=scores))

    def run() -> torch.Tensor:
        for row in range(len(scores)):
            scores[row].copy_(inputs.scores_of(row, table[row])[:width])
        return select()

    return run
