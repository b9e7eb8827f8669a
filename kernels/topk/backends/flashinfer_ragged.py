"""``flashinfer.top_k_ragged_transform`` with offsets of zero: top-k, lengths, -1 and int32 in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.topk.backends import _flashinfer

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@_flashinfer.backend("topk.select", "flashinfer.top_k_ragged_transform")
def prepare(
    problem: TopkProblem,
    algorithm: str,
    deterministic: bool = False,
    tie_break: str = "none",
    dsa_graph_safe: bool = False,
) -> Callable[[], torch.Tensor]:
    """A row no longer than k becomes 0 .. length-1 and then -1; a longer one fills all k columns (``topk.cuh``)."""
    import flashinfer
    import torch

    scores, lengths, k = problem.scores, problem.lengths, problem.k
    offsets = torch.zeros_like(lengths)
    ties = _flashinfer.TIE_BREAKS[tie_break]

    def run() -> torch.Tensor:
        with _flashinfer.chosen(algorithm):
            indices: torch.Tensor = flashinfer.top_k_ragged_transform(
                scores, offsets, lengths, k, deterministic=deterministic, tie_break=ties, dsa_graph_safe=dsa_graph_safe
            )
        return indices

    return run
