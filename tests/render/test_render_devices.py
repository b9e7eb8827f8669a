"""Two devices in one file: a header, a table, means and a noise band for each, and one of them picked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from render_builders import CPU, ENVIRONMENT, SETTINGS, candidate, decode, held, result, run_file, topk
from rich.console import Console

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.render.devices import of_device
from autotune_cli.render.run_data import summary
from autotune_cli.render.run_markdown import run_markdown
from autotune_cli.render.summary import print_run
from autotune_cli.results.schema import RunFile, WorkloadResult

H100 = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
OF_CPU = {"timer": "cpu_clock", "l2": "warm", "rounds": "9", "iterations": "7", "threads": "2", "exhaustive": "yes"}


def twice_as_fast(workload: Any, **changes: Any) -> WorkloadResult:
    default = candidate("slow", 200.0, default=True)
    baselines = (held(default, speedup=2.0, speedup_interval=(1.9, 2.1)),)
    return result(workload, candidate("fast", 100.0), default, baselines=baselines, **changes)


def two() -> RunFile:
    """Three results of the H200 that wrote the file, two of a processor."""
    return run_file(
        *(result(decode(batch)) for batch in (1, 2, 3)),
        *(twice_as_fast(topk(rows), environment="f", identity=OF_CPU, noise=0.04) for rows in (1, 2)),
        environments={"e": ENVIRONMENT, "f": CPU},
    )


def shown(run: RunFile) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_run(console, run)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_device_has_its_own_header_table_and_mean() -> None:
    text = shown(two())
    at = text.index("AMD [bold]EPYC")
    gpu, cpu = text[:at], text[at:]
    assert "cold L2, CUPTI, 10 rounds of up to 25 | noise band 0.20 %" in gpu
    assert "warm caches, wall clock, 9 rounds of up to 7, exhaustive | noise band 4.00 %" in cpu
    assert gpu.count("attention.decode") == 3
    assert cpu.count("topk.select") == 2
    assert "3 workloads, 6 candidates" in gpu
    assert "2 workloads, 4 candidates" in cpu
    assert "1.28x (1.28 .. 1.28) over sglang" in gpu
    assert "2.00x (2.00 .. 2.00) over sglang" in cpu
    assert text.count("x (") == 2


def test_data_and_markdown_are_by_device_too() -> None:
    document = summary(Path("two.json"), two())
    assert [(mean["device"], mean["workloads"]) for mean in document["speedups"]] == [
        (ENVIRONMENT.device, 3),
        (CPU.device, 2),
    ]
    assert [round(mean["geometric_mean"], 3) for mean in document["speedups"]] == [1.278, 2.0]
    assert [each["device"] for each in document["workloads"]] == 3 * [ENVIRONMENT.device] + 2 * [CPU.device]
    text = run_markdown(two())
    assert text.count("wall clock, 9 rounds of up to 7") == text.count("CUPTI, 10 rounds of up to 25") == 1
    assert text.count("noise band") == 2


def test_data_says_what_is_too_noisy() -> None:
    run = run_file(result(decode(1)), result(decode(2), noise=0.5))
    told = [each["too_noisy"] for each in summary(Path("x.json"), run)["workloads"]]
    assert told == [None, "two copies of one kernel differ by 50 %"]


@pytest.mark.parametrize("name", ["epyc", "amd", "  AMD   [bold]epyc "])
def test_one_device_is_picked_by_a_part_of_its_name(name: str) -> None:
    run = of_device(two(), name)
    assert {each.operation for each in (found.workload for found in run.workloads)} == {"topk.select"}
    assert run.device == CPU
    assert list(run.environments) == ["f"]
    assert (run.settings.timer, run.settings.rounds, run.noise_floor) == ("cpu_clock", 9, 0.04)
    text = shown(run)
    assert "H200" not in text
    assert text == shown(two())[shown(two()).index("AMD [bold]EPYC") :]


def test_the_device_of_the_run_keeps_its_settings() -> None:
    run = of_device(two(), "h200")
    assert len(run.workloads) == 3
    assert (run.settings, run.noise_floor) == (SETTINGS, 0.002)


@pytest.mark.parametrize("name", ["a100", "", " "])
def test_an_unknown_device_is_told_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownName, match=r"known: NVIDIA H200, AMD \[bold\]EPYC"):
        of_device(two(), name)


def test_a_name_that_fits_two_is_refused_and_a_whole_one_is_not() -> None:
    longer = ENVIRONMENT.model_copy(update={"device": "NVIDIA H200 NVL"})
    run = run_file(
        result(decode(1)),
        result(decode(1), environment="f"),
        result(decode(1), environment="g"),
        environments={"e": ENVIRONMENT, "f": longer, "g": H100},
    )
    with pytest.raises(BadField, match="fits several devices of this file: NVIDIA H200, NVIDIA H200 NVL"):
        of_device(run, "h200")
    assert of_device(run, "nvidia h200").device == ENVIRONMENT
    assert of_device(run, "nvl").device == longer


def test_another_device_s_noise_is_its_own() -> None:
    """The run's floor says nothing of a device that it didn't measure."""
    run = two().model_copy(update={"noise_floor": None})
    assert "noise band 4.00 %" in shown(run)
    assert shown(run).count("noise band") == 1
