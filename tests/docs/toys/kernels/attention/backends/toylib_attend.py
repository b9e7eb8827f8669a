"""A toy backend: decode attention by a library that the program doesn't know yet; unscaled it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem
    from autotune_cli.kernels.attention.workload import AttentionWorkload


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return "toylib pages by 1 or 2 tokens" if knobs["page_size"] not in (1, 2) else None


@register(
    "attention.decode",
    name="toylib.attend",
    knobs={"page_size": (1, 2, 4), "scaled": (True, False)},
    requires=("toylib",),
    install="pip install toylib",
    devices=("cuda", "cpu"),
    unsupported=unsupported,
)
def prepare(problem: AttentionProblem, *, page_size: int, scaled: bool) -> Callable[[], torch.Tensor]:
    import torch
    from toylib import attend

    pages = problem.paged(page_size)
    scale = problem.geometry.scale if scaled else 1.0

    def run() -> torch.Tensor:
        outputs = []
        for q, table, length in zip(problem.q, pages.tables, problem.lengths.kv, strict=True):
            # [tokens, KV heads, head dim], from pages in any order.
            k, v = (cache[table].flatten(0, 1)[:length] for cache in (pages.k, pages.v))
            outputs.append(attend(q, k, v, scale))
        return torch.stack(outputs)

    return run
