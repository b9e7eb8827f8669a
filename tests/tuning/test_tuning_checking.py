"""How long a candidate's calls take decides how often the vetting times it."""

from __future__ import annotations

import time

import pytest
import torch

from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.checking import Checker
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.launching import Launchable

SMALL = TopkWorkload(operation="topk.select", rows=2, width=64, k=4, mode="eager", distributions=("normal",))


@pytest.mark.parametrize(("takes_s", "calls"), [(0.0, 5), (0.004, 5), (0.007, 2), (3.0, 1)])
def test_what_takes_long_is_timed_less_often(monkeypatch: pytest.MonkeyPatch, takes_s: float, calls: int) -> None:
    passed = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: passed[0])
    phases = PhaseReporter("cpu", lambda name, subject: None)
    cases = Cases("cpu", 0, phases)
    cases.open(SMALL)
    checker = Checker(cases, Launches(cases), phases)

    def run() -> torch.Tensor:
        passed[0] += takes_s
        return torch.zeros(2, 4, dtype=torch.int32)

    checker.check("normal", Launchable(run))
    assert checker.calls_in(0.02, 5) == calls
