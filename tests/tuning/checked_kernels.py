"""A user's kernel file whose kernels go wrong on some inputs only. Names say what each one does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels import register


def checked(kernel: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Register under the function's name: called with a problem it returns indices."""

    @register("topk.select", name=f"checked.{kernel.__name__}", devices=("cpu", "cuda"))
    def prepare(problem: Any) -> Callable[[], Any]:
        return lambda: kernel(problem)

    return kernel


def _right(problem: Any) -> torch.Tensor:
    return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)


def _is_plateau(problem: Any) -> bool:
    return bool((problem.scores == 0.5).any())


@checked
def right(problem: Any) -> Any:
    return _right(problem)


@checked
def misses_three_on_a_plateau(problem: Any) -> Any:
    found = _right(problem)
    if _is_plateau(problem):
        found[1, :3] = problem.scores[1].argmin()
    return found


@checked
def ends_its_process_on_a_plateau(problem: Any) -> Any:
    if _is_plateau(problem):
        os.kill(os.getpid(), signal.SIGSEGV)
    return _right(problem)


@checked
def overwrites_its_input(problem: Any) -> Any:
    found = _right(problem)
    problem.scores.zero_()
    return found


class _Spoiler:
    """Right as long as it is there; what it leaves behind is not."""

    def __init__(self, problem: Any) -> None:
        self._problem = problem

    def __call__(self) -> Any:
        return _right(self._problem)

    def __del__(self) -> None:
        self._problem.scores.zero_()


@register("topk.select", name="checked.spoils_inputs_when_it_goes", devices=("cpu", "cuda"))
def spoils(problem: Any) -> Callable[[], Any]:
    return _Spoiler(problem)


@checked
def comes_after_it(problem: Any) -> Any:
    return _right(problem)


@checked
def raises(problem: Any) -> Any:
    raise NotImplementedError("no kernel yet")


@checked
def hangs(problem: Any) -> Any:
    # The parent's clock (clocks.py) leaps over its limit for the byte.
    with open(os.environ["CHECKED_HANGS"], "ab") as file:
        file.write(b".")
    time.sleep(3600)
