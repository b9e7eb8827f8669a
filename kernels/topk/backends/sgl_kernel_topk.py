"""``sgl_kernel.fast_topk_v2``: SGLang's unfused selection, which runs with ``SGLANG_DSA_FUSE_TOPK=0``. Fused, a decode
step runs its JIT kernel v2 from 0.5.16 on, and an extend with a bf16 cache ``fast_topk_transform_fused``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register
from autotune_cli.kernels.topk.backends import _sgl_kernel

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@register(
    "topk.select",
    name="sgl_kernel.fast_topk_v2",
    requires=("sgl_kernel",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=_sgl_kernel.unsupported,
)
def prepare(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """It obeys lengths and pads with -1 by itself; the order of its indices is arbitrary."""
    from sgl_kernel import fast_topk_v2

    scores, lengths, k = problem.scores, problem.lengths, problem.k

    def run() -> torch.Tensor:
        indices: torch.Tensor = fast_topk_v2(scores, lengths, k)
        return indices

    return run
