"""``flashinfer.top_k``: radix top-k of whole rows; lengths, -1 and int32 are left to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.topk.backends import _flashinfer
from autotune_cli.kernels.topk.backends._select import as_select

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@_flashinfer.backend("topk.select", "flashinfer.top_k")
def prepare(
    problem: TopkProblem,
    algorithm: str,
    deterministic: bool = False,
    tie_break: str = "none",
    dsa_graph_safe: bool = False,
) -> Callable[[], torch.Tensor]:
    """``tie_break="small"`` takes a real -inf before a masked one, which comes later in its row, and saves a kernel."""
    import flashinfer

    kept = min(problem.k, problem.workload.width)
    ties = _flashinfer.TIE_BREAKS[tie_break]

    def pick(scores: torch.Tensor) -> torch.Tensor:
        with _flashinfer.chosen(algorithm):
            _, indices = flashinfer.top_k(
                scores, kept, deterministic=deterministic, tie_break=ties, dsa_graph_safe=dsa_graph_safe
            )
        found: torch.Tensor = indices
        return found

    return as_select(problem, pick, first_of_equals=tie_break == "small")
