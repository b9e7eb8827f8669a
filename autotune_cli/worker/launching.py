"""Turning a candidate into something that can be launched again and again: eagerly, or as a CUDA graph's replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from autotune_cli.kernels.family import Problem
from autotune_cli.kernels.registry import Candidate, Prepared, prepared

# Elements of a row of the digest's table: at most a thousandth of the input is held beside it.
_ROW = 4096
# torch asks for a few eager runs on a side stream before a capture, so that lazy allocations are over.
_RUNS_BEFORE_CAPTURE = 2


@dataclass
class Launch:
    """``run`` launches and returns the output; ``plan`` is the host work of a new batch, where there is any."""

    run: Callable[[], Any]
    plan: Callable[[], None] | None = None
    keep: Any = None
    """What must stay alive as long as ``run``."""


def prepare(
    candidate: Candidate, problem: Problem, captured: bool, before_run: Callable[[], None] = lambda: None
) -> Launch:
    """Prepare a candidate on a problem, and capture it if asked. ``before_run`` is called before its first run."""
    ready = prepared(candidate, problem)
    before_run()
    if not captured:
        return Launch(ready.run, ready.plan, ready)
    return _capture(ready)


def _capture(ready: Prepared) -> Launch:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_RUNS_BEFORE_CAPTURE):
            ready.run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    # torch.cuda.graph would also give back all unused memory of GPU and host, for the next candidate to ask for anew.
    with torch.cuda.stream(side):
        graph.capture_begin()
        try:
            output = ready.run()
        except BaseException:
            # The fault is told, not that it spoilt the capture.
            with suppress(Exception):
                graph.capture_end()
            raise
        graph.capture_end()

    def replay() -> Any:
        graph.replay()
        return output

    return Launch(replay, ready.plan, (graph, ready))


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


class InputGuard:
    """Notices a candidate that changes its inputs."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._sums: dict[int, int] = {}
        self.learn()

    def learn(self) -> None:
        """Take the sums of inputs that weren't there before: page layouts are made when first asked for."""
        for tensor in self._problem.inputs():
            if tensor.data_ptr() not in self._sums:
                self._sums[tensor.data_ptr()] = _digest(tensor)

    def unchanged(self) -> bool:
        return all(self._sums.get(tensor.data_ptr()) in (None, _digest(tensor)) for tensor in self._problem.inputs())


def _digest(tensor: torch.Tensor) -> int:
    """A sum that also changes when elements change places (sorting in place), without a copy as large as the input."""
    bits = tensor.detach().reshape(-1).view(torch.uint8)
    if bits.numel() % 4 == 0 and bits.data_ptr() % 4 == 0:
        bits = bits.view(torch.int32)
    rows = bits[: bits.numel() // _ROW * _ROW].view(-1, _ROW)
    tail = bits[rows.numel() :].long()
    sums = (rows.sum(0, dtype=torch.int64), rows.sum(1, dtype=torch.int64), tail)
    # Odd weights: no change of one element is lost where the sum overflows.
    weighted = [(part * (2 * torch.arange(part.numel(), device=part.device) + 1)).sum() for part in sums]
    return int(weighted[0] + 3 * weighted[1] + 5 * weighted[2])
