"""--budget, --exhaustive, --rounds and several workers on real workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import CountingClock, ticking
from running import PATIENCE_S, Autotune, Finished, candidates

from autotune_cli.kernels.models import build_suite
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.request import Request
from autotune_cli.tuning.run import tune
from autotune_cli.worker import child
from autotune_cli.worker.protocol import WorkerSettings

STEP_S = 0.05
SLOW = f"""
import os, time, torch
from autotune_cli.kernels import register

CLOCK = os.environ["SLOW_CLOCK"]
passed, real, real_ns = [0], time.perf_counter, time.perf_counter_ns
time.perf_counter = lambda: real() + passed[0] * {STEP_S}
time.perf_counter_ns = lambda: real_ns() + passed[0] * {int(STEP_S * 1e9)}

def let_pass():
    # One step of the program's clock and of the timer's, once the program has seen the one before.
    passed[0] += 1
    with open(CLOCK, "ab") as clock:
        clock.write(b".")
        steps = clock.tell()
    while os.path.getsize(CLOCK + ".seen") < steps:
        time.sleep(0.0005)

def right(problem):
    return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)

@register("topk.select", name="slow.a", knobs={{"n": tuple(range(30))}}, devices=("cpu",))
def slow(problem, n):
    def run():
        let_pass()
        return right(problem)
    return run

@register("topk.select", name="slow.hangs", devices=("cpu",))
def hangs(problem):
    def run():
        while True:
            let_pass()
    return run
"""
SUITE = ("--op", "topk", "--batch", "1,2,3", "--context", "4096", "--scores", "normal")
BUDGET_S = 24


@pytest.fixture(scope="module")
def bounded(shared: Callable[[], Autotune]) -> Finished:
    """Three workloads of 33 candidates, one of which hangs; without a budget about a minute and three hangs.

    By a clock of its own: however slow the machine is, as much is done in the budget.
    """
    program = shared()
    file = program.root / "slow.py"
    file.write_text(SLOW)
    options = (*SUITE, "--no-cache", "--kernels", file, "--exhaustive", "--budget", f"{BUDGET_S}s", "--timeout", "30")
    clock = CountingClock(program.root / "clock", STEP_S)
    with ticking(clock), pytest.MonkeyPatch.context() as patch:
        # Each step waits for the program's next look.
        patch.setattr(child, "_GLANCE_S", 0.001)
        return program.with_variables(SLOW_CLOCK=str(clock.file)).tune(*options)


def test_budget_bounds_the_whole_run(bounded: Finished) -> None:
    """To a few steps, which pass while a worker is killed; writing the file takes no time by this clock."""
    assert 0.5 * BUDGET_S < bounded.run.wall_s <= BUDGET_S + 10 * STEP_S


def test_every_workload_has_a_winner_all_the_same(bounded: Finished) -> None:
    run = bounded.run
    assert len(run.workloads) == 3
    assert all(result.choice is not None for result in run.workloads)
    assert not run.complete
    assert {result.stopped for result in run.workloads} == {"budget"}


def test_budget_is_shared_out_fairly(bounded: Finished) -> None:
    """None takes the others' time. The one in whose share a worker hangs also waits for the next worker's start."""
    walls = [result.wall_s for result in bounded.run.workloads]
    assert max(walls) < 0.75 * BUDGET_S, walls
    assert min(walls) > 0.05 * BUDGET_S, walls


def test_who_had_no_turn_is_skipped_with_the_reason(bounded: Finished) -> None:
    for result in bounded.run.workloads:
        skipped = [candidate for candidate in result.candidates if candidate.status == "skipped"]
        assert skipped
        assert all("the budget was spent" in (candidate.reason or "") for candidate in skipped)
        assert result.candidates[0].status == "ok"  # the default comes first


def test_a_hang_is_no_time_out_where_the_budget_cut_it_off(bounded: Finished) -> None:
    for result in bounded.run.workloads:
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
        timeout_s=PATIENCE_S,
    )
    outcome = tune(request, TuneProgress(), threading.Event())
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
