"""A user's kernel file on FlashInfer (see ``fake_flashinfer``): FlashInfer can tune what one candidate calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels import register

LOG = "FLASHINFER_LOG"


@register(
    "topk.select",
    name="flashinfer.mine",
    knobs={"tunable": (False, True)},
    devices=("cpu",),
    requires=("flashinfer",),
)
def prepare(problem: Any, tunable: bool) -> Callable[[], torch.Tensor]:
    from flashinfer.autotuner import AutoTuner

    def run() -> torch.Tensor:
        if tunable:
            tactic = AutoTuner.get().choose_one("gemm", 4)
            with open(os.environ[LOG], "a") as log:
                log.write(f"{tactic}\n")
        return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)

    return run
