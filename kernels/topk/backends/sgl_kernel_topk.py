"""``sgl_kernel.fast_topk_v2``: what SGLang runs for DeepSeek sparse attention when nobody tunes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

# Asserted in sgl_kernel/top_k.py.
ONLY_K = 2048


def _unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.dtype != "float32":
        return f"takes float32 scores only, these are {workload.dtype}"
    return None if workload.k == ONLY_K else f"is compiled for k = {ONLY_K} only, this is k = {workload.k}"


@register(
    "topk.select",
    name="sgl_kernel.fast_topk_v2",
    requires=("sgl_kernel",),
    install="pip install 'kernel-autotune[cuda]'",
    unsupported=_unsupported,
)
def prepare(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """It obeys lengths and pads with -1 by itself; the order of its indices is arbitrary."""
    from sgl_kernel import fast_topk_v2

    scores, lengths, k = problem.scores, problem.lengths, problem.k

    def run() -> torch.Tensor:
        indices: torch.Tensor = fast_topk_v2(scores, lengths, k)
        return indices

    return run
