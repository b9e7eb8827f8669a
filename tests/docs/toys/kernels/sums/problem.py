"""Inputs of the toy family, and their judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from autotune_cli.kernels.sums.workload import SumsWorkload

from autotune_cli.kernels.family import Verdict


@dataclass(frozen=True)
class SumsProblem:
    """Numbers to add on one device."""

    workload: SumsWorkload
    numbers: torch.Tensor
    device: str

    @property
    def graph(self) -> bool:
        return self.workload.mode == "graph"

    def inputs(self) -> dict[str, torch.Tensor]:
        return {"numbers": self.numbers}

    def view(self) -> SumsProblem:
        return self

    def check(self, output: Any) -> Verdict:
        wanted = self.numbers.double().sum(1)
        error = float((output.double() - wanted).abs().max())
        limit = 1e-6 * self.workload.width
        ok = error <= limit
        return Verdict(ok, error, limit, "absolute error", "" if ok else f"is off by {error:.3g}")

    def moved(self) -> SumsProblem:
        return replace(self, numbers=self.numbers.clone())

    def for_graphs(self) -> SumsProblem:
        return replace(self, workload=self.workload.model_copy(update={"mode": "graph"}))


def cases(workload: SumsWorkload) -> tuple[str, ...]:
    return ("uniform",)


def make_problem(workload: SumsWorkload, case: str, device: str, seed: int) -> SumsProblem:
    generator = torch.Generator(device).manual_seed(seed)
    numbers = torch.rand(workload.rows, workload.width, generator=generator, device=device)
    return SumsProblem(workload, numbers, device)
