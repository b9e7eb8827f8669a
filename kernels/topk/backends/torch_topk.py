"""``torch.topk``: SGLang's ``torch`` top-k backend for sparse attention, and the default on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends._select import as_select

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.workload import TopkWorkload


def _default(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> bool:
    """SGLang's own kernel is for CUDA and a k of 2048; elsewhere this is what is left, sorted as torch does."""
    return bool(knobs["sorted"]) and (device.kind != "cuda" or workload.k != 2048)


@register(
    "topk.select",
    name="torch.topk",
    knobs={"sorted": (True, False)},
    requires=("torch",),
    devices=("cuda", "cpu"),
    default=_default,
)
def prepare(problem: TopkProblem, sorted: bool) -> Callable[[], torch.Tensor]:
    import torch

    kept = min(problem.k, problem.workload.width)

    def pick(scores: torch.Tensor) -> torch.Tensor:
        return torch.topk(scores, kept, dim=1, sorted=sorted).indices

    return as_select(problem, pick, descending=sorted)
