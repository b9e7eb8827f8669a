"""--budget, --exhaustive, --rounds and several workers on real workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Autotune, Finished, candidates

from autotune_cli.kernels.models import build_suite
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.progress import Progress
from autotune_cli.tuning.race import RacePolicy
from autotune_cli.tuning.request import Request
from autotune_cli.tuning.run import tune
from autotune_cli.worker.protocol import WorkerSettings

SLOW = """
import time, torch
from autotune_cli.kernels import register

def right(problem):
    return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)

@register("topk.select", name="slow.a", knobs={"n": tuple(range(30))}, devices=("cpu",))
def slow(problem, n):
    def run():
        time.sleep(0.05)
        return right(problem)
    return run

@register("topk.select", name="slow.hangs", devices=("cpu",))
def hangs(problem):
    return lambda: time.sleep(1000)
"""
SUITE = ("--op", "topk", "--batch", "1,2,3", "--context", "4096", "--scores", "normal")
BUDGET_S = 24


@pytest.fixture(scope="module")
def bounded(shared: Callable[[], Autotune]) -> tuple[Finished, float]:
    """Three workloads of 33 candidates, one of which hangs; without a budget about a minute and three hangs."""
    program = shared()
    file = program.root / "slow.py"
    file.write_text(SLOW)
    options = (*SUITE, "--no-cache", "--kernels", file, "--exhaustive", "--budget", f"{BUDGET_S}s", "--timeout", "30")
    begin = time.monotonic()
    return program.tune(*options), time.monotonic() - begin


def test_budget_bounds_the_whole_run(bounded: tuple[Finished, float]) -> None:
    """Its own clock begins after the interpreter's start and ends before the table is shown."""
    assert bounded[0].run.wall_s < 1.2 * BUDGET_S
    assert bounded[1] < 1.2 * BUDGET_S + 5.0


def test_every_workload_has_a_winner_all_the_same(bounded: tuple[Finished, float]) -> None:
    run = bounded[0].run
    assert len(run.workloads) == 3
    assert all(result.choice is not None for result in run.workloads)
    assert not run.complete
    assert {result.stopped for result in run.workloads} == {"budget"}


def test_budget_is_shared_out_fairly(bounded: tuple[Finished, float]) -> None:
    """None takes the others' time. The one in whose share a worker hangs also waits for the next worker's start."""
    walls = [result.wall_s for result in bounded[0].run.workloads]
    assert max(walls) < 0.75 * BUDGET_S, walls
    assert min(walls) > 0.05 * BUDGET_S, walls


def test_who_had_no_turn_is_skipped_with_the_reason(bounded: tuple[Finished, float]) -> None:
    for result in bounded[0].run.workloads:
        skipped = [candidate for candidate in result.candidates if candidate.status == "skipped"]
        assert skipped
        assert all("the budget was spent" in (candidate.reason or "") for candidate in skipped)
        assert result.candidates[0].status == "ok"  # the default comes first


def test_a_hang_is_no_time_out_where_the_budget_cut_it_off(bounded: tuple[Finished, float]) -> None:
    for result in bounded[0].run.workloads:
        hanging = candidates(result)["slow.hangs"]
        assert hanging.status == "skipped"


def test_exhaustive_and_rounds(autotune: Autotune) -> None:
    run = autotune.tune(*SUITE[:2], "--batch", "2", *SUITE[4:], "--no-cache", "--exhaustive", "--rounds", "4").run
    (result,) = run.workloads
    measured = [candidate for candidate in result.candidates if candidate.status != "unsupported"]
    assert len(measured) >= 2
    for candidate in measured:
        assert candidate.status == "ok"
        assert len(candidate.rounds) >= 4
    assert run.settings.exhaustive
    assert len(result.noise_rounds) >= 4


CRASH = """
import os
from autotune_cli.kernels import register

@register("topk.select", name="mine.crash", devices=("cpu",))
def prepare(problem):
    return lambda: os._exit(5)
"""


def run_with(workers: int, root: Path, *files: Path) -> RunFile:
    suite = build_suite(None, "cpu", operations="topk", batches="1,2,3", contexts="4096", scores="normal")
    request = Request(
        name="many",
        workloads=suite.workloads,
        worker=WorkerSettings("cpu", kernel_files=tuple(map(str, files))),
        policy=RacePolicy.for_cpu().with_rounds(3),
        root=root,
        use_cache=False,
        gpus=(None,) * workers,
        timeout_s=20.0,
    )
    outcome = tune(request, Progress(), threading.Event())
    assert not outcome.interrupted
    return outcome.run


def test_several_workers_write_the_same_file_as_one(tmp_path: Path) -> None:
    """With two, a candidate ends its worker in every workload: threads start new ones, which end with the thread."""
    file = tmp_path / "crash.py"
    file.write_text(CRASH)
    one, two = run_with(1, tmp_path / "one"), run_with(2, tmp_path / "two", file)

    def outline(run: RunFile) -> list[tuple[str, list[str]]]:
        keys = [(result.key, [candidate.key for candidate in result.candidates]) for result in run.workloads]
        return [(key, [name for name in names if name != "mine.crash"]) for key, names in keys]

    assert outline(one) == outline(two)
    assert [result.workload.shape for result in two.workloads] == [f"{n} x 4096" for n in (1, 2, 3)]
    for result in two.workloads:
        assert result.choice is not None
        assert candidates(result)["mine.crash"].reason == "exited with code 5"
    assert one.complete
    assert two.complete
    assert list(one.environments) == list(two.environments)
    assert len(list((tmp_path / "two" / "runs").iterdir())) == 1
