"""Outputs compared bit by bit. Lives in the worker process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from autotune_cli.worker.poison import tensors_of

Kept = tuple[torch.Tensor, ...]
"""Copies of an output's tensors, each [rows, ...]."""


def kept(output: Any, rows: Sequence[int] | None = None) -> Kept:
    """Copies of an output's tensors that no later run overwrites; of some of their rows only, where these are given."""
    tensors = [tensor.detach() for tensor in tensors_of(output)]
    return tuple(tensor.clone() if rows is None else tensor[list(rows)] for tensor in tensors)


def rows_of(output: Kept) -> int:
    """Rows of an output; 0 where it has no tensor."""
    return max((len(tensor) if tensor.dim() else 1 for tensor in output), default=0)


def rows_apart(first: Kept, other: Kept) -> int:
    """In how many rows two outputs differ in any bit: all of them where they differ in shape or type."""
    if [(part.shape, part.dtype) for part in first] != [(part.shape, part.dtype) for part in other]:
        return max(rows_of(first), rows_of(other))
    apart: dict[int, torch.Tensor] = {}
    for one, two in zip(first, other, strict=True):
        differ = (_bytes(one) != _bytes(two)).any(1)
        apart[len(differ)] = apart[len(differ)] | differ if len(differ) in apart else differ
    return max((int(differ.sum()) for differ in apart.values()), default=0)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """uint8 [rows, bytes of a row]."""
    rows = len(tensor) if tensor.dim() else 1
    return tensor.contiguous().view(torch.uint8).reshape(rows, -1) if tensor.numel() else torch.zeros(rows, 1)
