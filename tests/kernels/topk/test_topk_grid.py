"""benchmarks/topk_grid.py: its grids, and which times its table compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import topk_grid

from autotune_cli.kernels.registry import Candidate, Device
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.results.schema import Environment

OURS = Candidate("autotune.topk", (("cluster", 1), ("tie_break", "small")))
RIGHT = Candidate("lib.right")
FAST_BUT_WRONG = Candidate("lib.fast")
CELL = TopkWorkload.select(rows=256, width=65536, k=2048)


def test_the_grids_are_those_of_the_issue() -> None:
    aim, sglang = list(topk_grid.aim()), list(topk_grid.sglang())
    assert len({workload.key for workload in aim}) == 6 * 4 * 2
    assert len({workload.key for workload in sglang}) == 3 * 3 * 5 * 2
    assert {workload.operation for workload in sglang} == {"topk.paged"}


@pytest.mark.parametrize(
    ("candidate", "kept"),
    [
        (OURS, True),
        (Candidate("autotune.topk", (("cluster", 1), ("tie_break", "large"))), False),
        (Candidate("flashinfer.top_k", (("algorithm", "auto"),)), True),
        (Candidate("flashinfer.top_k", (("algorithm", "auto"), ("deterministic", True))), False),
        (Candidate("flashinfer.top_k", (("algorithm", "auto"), ("tie_break", "small"))), False),
    ],
)
def test_others_are_not_asked_for_promises(candidate: Candidate, kept: bool) -> None:
    assert topk_grid._promises_nothing(candidate) is kept


class Measured(topk_grid.Bench):
    """A bench that has measured one cell."""

    @classmethod
    def of(cls, times: dict[Candidate, float], wrong: set[Candidate]) -> Self:
        environment = Environment.model_construct(memory_gb_per_s=3000.0, matmul_tflop_per_s=600.0, l2_bytes=50 << 20)
        bench = cls(Device("cuda", "a GPU"), environment, None)  # type: ignore[arg-type]
        bench.measure = lambda workload: (times, wrong)  # type: ignore[method-assign]
        return bench


def row(bench: topk_grid.Bench) -> list[str]:
    return [cell.strip() for cell in list(topk_grid.table(bench, [CELL]))[-1].strip("|").split("|")]


def test_only_what_is_right_is_compared() -> None:
    times = {OURS: 30.0, RIGHT: 60.0, FAST_BUT_WRONG: 20.0}
    found = row(Measured.of(times, {FAST_BUT_WRONG}))
    assert found[0] == "256 x 65536"
    assert found[4:7] == ["60.0", "lib.right (wrong: lib.fast 20.0)", "30.0"]
    assert found[8] == "2.00"
    # What is wrong on other scores counts as little.
    bench = Measured.of(times, set())
    bench.wrong[("topk.select", FAST_BUT_WRONG)] = ["narrow"]
    assert row(bench) == found


def test_a_cell_without_ours_or_others_has_dashes() -> None:
    assert row(Measured.of({RIGHT: 60.0}, set()))[6] == "-"
    alone = row(Measured.of({OURS: 30.0}, set()))
    assert alone[4] == "-"
    assert alone[8] == "-"


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert topk_grid.main([]) == 4
    assert "no NVIDIA GPU" in capsys.readouterr().err
    assert topk_grid.main(["nothing"]) == 2
