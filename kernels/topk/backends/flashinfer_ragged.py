"""``flashinfer.top_k_ragged_transform`` with offsets of zero: top-k, lengths, -1 and int32 in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register
from autotune_cli.kernels.topk.backends import _flashinfer

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@register(
    "topk.select",
    name="flashinfer.top_k_ragged_transform",
    knobs=_flashinfer.knobs,
    requires=("flashinfer",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=_flashinfer.unsupported,
    modules=_flashinfer.modules,
    launch_knobs=("algorithm",),
    forget=_flashinfer.forget_buffers,
)
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
