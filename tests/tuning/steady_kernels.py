"""A user's kernel file whose four candidates are slow enough to be killed, and note each vetting in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels import register

LOG = "STEADY_LOG"
CALL_S = 0.005


def _note(workload: Any, n: int) -> None:
    """Called once a vetting, never in the race."""
    with open(os.environ[LOG], "a") as log:
        log.write(f"{workload.key}|steady.sleep(n={n})|{os.getpid()}\n")


@register("topk.select", name="steady.sleep", knobs={"n": (0, 1, 2, 3)}, devices=("cpu",), build=_note)
def prepare(problem: Any, n: int) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        time.sleep(CALL_S)
        return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)

    return run
