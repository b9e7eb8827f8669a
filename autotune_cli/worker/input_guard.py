"""Inputs that a candidate has changed show by their sums."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch

from autotune_cli.kernels.family import Problem

# Elements of a row of the digest's table: at most a thousandth of the input is held beside it.
_ROW = 4096


class InputGuard:
    """Notices a candidate that changes its inputs."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._sums: dict[str, int] = {}
        self.learn()

    @property
    def is_complete(self) -> bool:
        """Are the sums of all inputs known?"""
        return self._problem.inputs().keys() <= self._sums.keys()

    def learn(self) -> None:
        """Take the sums of inputs that weren't there before: page layouts are made when first asked for."""
        new = {name: tensor for name, tensor in self._problem.inputs().items() if name not in self._sums}
        self._sums.update(zip(new, digests(new.values()), strict=True))

    def follow(self, problem: Problem) -> None:
        """Guard the same inputs in other tensors. What their names stand for is known."""
        self._problem = problem

    def unchanged(self, view: Problem | None = None) -> bool:
        """Do the inputs, or those of a view, hold what they held when they were first seen?"""
        inputs = (view or self._problem).inputs()
        seen = {name: tensor for name, tensor in inputs.items() if name in self._sums}
        return all(self._sums[name] == digest for name, digest in zip(seen, digests(seen.values()), strict=True))


def digests(tensors: Iterable[torch.Tensor]) -> list[int]:
    """A sum of each tensor's bits, modulo 2^64. The device is waited for once, whatever their number."""
    sums = [_digest(tensor) for tensor in tensors]
    return torch.stack(sums).tolist() if sums else []


def _digest(tensor: torch.Tensor) -> torch.Tensor:
    """A sum that also changes when elements change places (sorting in place), without a copy as large as the input."""
    bits = tensor.detach().reshape(-1).view(torch.uint8)
    if bits.numel() % 4 == 0 and bits.data_ptr() % 4 == 0:
        bits = bits.view(torch.int32)
    rows = bits[: bits.numel() // _ROW * _ROW].view(-1, _ROW)
    tail = bits[rows.numel() :]
    parts = [rows.sum(0, dtype=torch.int64), rows.sum(1, dtype=torch.int64)] if len(rows) else []
    if len(tail) or not parts:
        parts.append(tail.long())
    return torch.cat(parts).mul_(_weights(len(rows), len(tail), bits.device)).sum()


# Those of a workload's inputs, which are looked at after every candidate: drawing them takes as long as all else here.
@functools.lru_cache(maxsize=64)
def _weights(rows: int, tail: int, device: torch.device) -> torch.Tensor:
    """Of a row's elements, of ``rows`` and of the elements behind them, one after the other.

    Each is a factor times 1, 3, 5 ...: no change of one element is lost where the sum overflows, as they are odd.
    """
    counts = ((_ROW, 1), (rows, 3)) if rows else ()
    parts = (*counts, (tail, 5)) if tail or not rows else counts
    return torch.cat([torch.arange(f, f * (2 * n + 1), 2 * f, device=device)[:n] for n, f in parts])
