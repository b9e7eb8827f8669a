"""Small attention batches on a CPU, for the tests beside this file."""

from __future__ import annotations

from typing import Any

import torch

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import Device

CPU = Device("cpu", "a CPU")
PAGE_SIZES = (1, 16, 64)
# Prefixes and new tokens of each request: none, one, around a page, more than a page.
EXTEND = Lengths((3, 1, 16, 17, 2), (3, 64, 32, 80, 131))
DECODE = Lengths((1, 1, 1, 1), (1, 16, 65, 130))


def geometry(**values: Any) -> Geometry:
    return Geometry(**({"num_qo_heads": 4, "num_kv_heads": 2, "head_dim": 64} | values))


def workload(lengths: Lengths = EXTEND, mode: Any = "eager", **values: Any) -> AttentionWorkload:
    new, context = max(lengths.qo), max(lengths.kv)
    operation: Any = "attention.decode" if new == 1 else "attention.extend"
    return AttentionWorkload(
        operation=operation,
        geometry=geometry(**values),
        batch=len(lengths.qo),
        new=new,
        context=context,
        mode=mode,
    )


def problem(lengths: Lengths = EXTEND, seed: int = 5, **values: Any) -> AttentionProblem:
    return AttentionProblem(workload(lengths, **values), lengths, "cpu", seed)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 and NaN compare as bytes."""
    return tensor.detach().clone().contiguous().view(torch.uint8)
