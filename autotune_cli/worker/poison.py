"""Outputs that are poisoned before a candidate is judged, so that elements that it leaves unwritten show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def tensors_of(output: Any) -> Iterator[torch.Tensor]:
    """The tensors of an output: a tensor or a tuple of them."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from tensors_of(part)


def poison(output: Any) -> None:
    """Fill an output with what no right answer holds, so that elements left unwritten show.

    A candidate that allocates its output anew gets, most likely, a block that was poisoned here and freed.
    """
    for tensor in tensors_of(output):
        value = float("nan") if tensor.is_floating_point() else -7
        if tensor.dtype == torch.bool:
            continue
        tensor.fill_(value)
        torch.empty_like(tensor).fill_(value)
