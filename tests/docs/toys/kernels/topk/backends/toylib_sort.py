"""A toy backend: a selection by a library that the program doesn't know yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends._select import as_select

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload


def unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return "toylib sorts at most 1000 scores" if workload.width > 1000 and not knobs["large"] else None


@register(
    "topk.select",
    name="toylib.sort",
    knobs={"large": (True, False)},
    requires=("toylib",),
    install="pip install toylib",
    devices=("cuda", "cpu"),
    unsupported=unsupported,
)
def prepare(problem: TopkProblem, *, large: bool) -> Callable[[], torch.Tensor]:
    from toylib import sort

    kept = min(problem.k, problem.workload.width)
    return as_select(problem, lambda scores: sort(scores)[:, :kept], descending=True)
