"""When a run measures the device's ceilings: once, before the first race, and never for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import TINY, Autotune, Finished

from autotune_cli.kernels.family import cost
from autotune_cli.measure.floor import floor_us

MEASURES_CEILINGS = True
# A user's file is loaded before the worker looks for its device: it may replace what measures the ceilings.
SPOILT = """
from autotune_cli.tuning import bench

def measure_ceilings(device, timer, gpu):
    {body}

bench.measure_ceilings = measure_ceilings
"""


@pytest.fixture(scope="module")
def program(shared: Callable[[], Autotune]) -> Autotune:
    return shared()


@pytest.fixture(scope="module")
def first(program: Autotune) -> Finished:
    return program.tune(*TINY)


def spoilt(folder: Path, body: str) -> Path:
    file = folder / "spoilt.py"
    file.write_text(SPOILT.format(body=body))
    return file


def test_floors_follow_from_the_ceilings_in_the_file(first: Finished) -> None:
    device = first.run.device
    assert device.memory_gb_per_s
    assert device.matmul_tflop_per_s
    for result in first.run.workloads:
        assert result.floor_us == floor_us(cost(result.workload), device, first.run.settings.l2)


def test_a_run_that_measures_nothing_measures_no_ceilings_and_keeps_those_there_are(
    first: Finished, program: Autotune, tmp_path: Path
) -> None:
    again = program.tune(*TINY, "--kernels", spoilt(tmp_path, "raise SystemError('asked for ceilings')"))
    assert [result.key for result in again.run.workloads] == [result.key for result in first.run.workloads]
    assert "ceilings" not in again.err
    assert again.run.device == first.run.device


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise ValueError('no such counter')", "ValueError: no such counter"),
        ("import os; os._exit(3)", "exited with code 3"),
    ],
)
def test_without_ceilings_a_run_has_everything_but_floors(
    autotune: Autotune, tmp_path: Path, body: str, why: str
) -> None:
    finished = autotune.tune(*TINY, "--no-cache", "--kernels", spoilt(tmp_path, body))
    (note,) = [line for line in finished.err.splitlines() if line.startswith("note: no floors")]
    assert note == f"note: no floors, as bandwidth and matrix rate can't be measured: {why}"
    (result,) = finished.run.workloads
    assert result.choice is not None
    assert result.floor_us is None
    assert finished.run.device.memory_gb_per_s is None
