"""``torch.sum``, and a sum that forgets the last column."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register

if TYPE_CHECKING:
    import torch
    from autotune_cli.kernels.sums.problem import SumsProblem


@register("sums.rows", name="torch.sum", knobs={"whole": (True, False)}, requires=("torch",), devices=("cuda", "cpu"))
def prepare(problem: SumsProblem, *, whole: bool) -> Callable[[], torch.Tensor]:
    numbers = problem.numbers if whole else problem.numbers[:, :-1]
    return lambda: numbers.sum(1)
