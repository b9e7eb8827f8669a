"""``flashinfer.top_k_ragged_transform``: selection and offsets of ragged keys in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.topk.backends import _flashinfer

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@_flashinfer.backend("topk.ragged", "flashinfer.ragged_transform")
def prepare(
    problem: TopkProblem,
    algorithm: str,
    deterministic: bool = False,
    tie_break: str = "none",
    dsa_graph_safe: bool = False,
) -> Callable[[], torch.Tensor]:
    """As SGLang 0.5.16 and 0.5.23 call it (``dsa_topk_backend.py``), with what is asked for by the knobs."""
    import flashinfer

    layout = problem.layout
    assert layout is not None
    scores, lengths, k = problem.scores, problem.lengths, problem.k
    offsets, starts, ties = layout.topk_indices_offset, layout.row_starts, _flashinfer.TIE_BREAKS[tie_break]

    def run() -> torch.Tensor:
        with _flashinfer.chosen(algorithm):
            indices: torch.Tensor = flashinfer.top_k_ragged_transform(
                scores,
                offsets,
                lengths,
                k,
                deterministic=deterministic,
                tie_break=ties,
                dsa_graph_safe=dsa_graph_safe,
                row_starts=starts,
            )
        return indices

    return run
