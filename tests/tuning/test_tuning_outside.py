"""What is no property of a candidate: kills from outside, the reference's time, a budget that is too small."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clocks import CountingClock, HangClock, ticking
from running import PATIENCE_S, Autotune, candidates

from autotune_cli.errors import BudgetTooSmall, LostWorker
from autotune_cli.kernels.models import build_suite
from autotune_cli.results.cache import lookup
from autotune_cli.results.schema import FAILED, MEASURED, RunFile
from autotune_cli.tuning import run as running
from autotune_cli.tuning.jobs import Plan, Vet
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.request import Request
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

Tune = Callable[..., RunFile]

# What is vetted first.
FIRST = "torch.topk(sorted=true)"
HEAD = """
import os, signal, time, torch
from autotune_cli.kernels import register

def right(problem):
    return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)
"""
FADES = """
# The timer's time passes by what a launch says of itself: no machine is so busy that it changes this.
passed = [0.0]
time.perf_counter = lambda: passed[0]
time.perf_counter_ns = lambda: int(passed[0] * 1e9)

def make(name, vetted_s, raced_s):
    calls = []
    def prepare(problem):
        def run():
            calls.append(1)
            passed[0] += vetted_s if len(calls) <= 9 else raced_s
            return right(problem)
        return run
    register("topk.select", name=name, devices=("cpu",))(prepare)

make("mine.fades", 0.0005, 0.03)
make("other.steady", 0.004, 0.004)
"""
# Longer than a candidate may take: the program's clock leaps over its limit (clocks.py).
SLOW_REFERENCE = """
from autotune_cli.kernels.topk import problem
made = problem.make_reference
CLOCK = os.environ["REFERENCE_CLOCK"]

def make_reference(*arguments):
    with open(CLOCK, "ab") as clock:
        clock.write(b".")
        number = clock.tell()
    while os.path.getsize(CLOCK + ".leaps") < number:
        time.sleep(0.01)
    return made(*arguments)

problem.make_reference = make_reference

@register("topk.select", name="mine.right", devices=("cpu",))
def prepare(problem):
    return lambda: right(problem)
"""
BROKEN_REFERENCE = """
from autotune_cli.kernels.topk import problem

def make_reference(*arguments):
    raise MemoryError("40 GB")

problem.make_reference = make_reference
"""
OWN = """
@register("topk.select", name="mine.slow", devices=("cpu",))
def prepare(problem):
    def run():
        time.sleep(0.003)
        return right(problem)
    return run
"""


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    """Tunes one small workload in this process."""

    def call(source: str = "", **changes: Any) -> RunFile:
        files: tuple[str, ...] = ()
        if source:
            file = tmp_path / "kernels.py"
            file.write_text(HEAD + source)
            files = (str(file),)
        suite = build_suite(None, "cpu", operations="topk", batches="1", contexts="4096", scores="normal")
        options: dict[str, Any] = {"use_cache": False, "timeout_s": PATIENCE_S, **changes}
        request = Request(
            name="one",
            workloads=suite.workloads[:1],
            worker=WorkerSettings("cpu", kernel_files=files),
            policy=RacePolicy.for_cpu().with_rounds(3),
            root=tmp_path,
            **options,
        )
        return running.tune(request, TuneProgress(), threading.Event()).run

    return call


def kill_at(monkeypatch: pytest.MonkeyPatch, job: type, times: int) -> list[int]:
    """The worker is killed from outside just before it gets its first ``times`` jobs of that kind."""
    killed: list[int] = []
    send = Worker._send

    def killing(self: Worker, message: Any, limit: float, end: float) -> None:
        if isinstance(message, job) and len(killed) < times:
            assert self.pid is not None
            killed.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)
        send(self, message, limit, end)

    monkeypatch.setattr(Worker, "_send", killing)
    return killed


def test_one_kill_changes_nothing(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    killed = kill_at(monkeypatch, Vet, 1)
    (result,) = tune().workloads
    assert len(killed) == 1
    assert result.candidate(FIRST).status in MEASURED
    assert result.stopped not in ("killed", "budget")


def test_killed_twice_while_planning_is_one_line(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    kill_at(monkeypatch, Plan, 2)
    with pytest.raises(LostWorker, match="asked for the candidates: killed by SIGKILL twice"):
        tune()


def test_killed_twice_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    """Another one wins, but neither the cache nor a resumed run takes that for the last word."""
    kill_at(monkeypatch, Vet, 2)
    first = tune(use_cache=True)
    (result,) = first.workloads
    default = result.candidate(FIRST)
    assert (default.status, default.reason) == ("crashed", "killed by SIGKILL twice (out of host memory?)")
    assert result.choice is not None
    assert result.choice.winner != default.key
    reused, reasons = lookup(first, result.key, result.identity)
    assert (reused, reasons) == (None, ["a worker was killed from outside when it was cached"])
    (again,) = tune(use_cache=True).workloads
    assert not again.reused
    assert again.candidate(default.key).status in MEASURED


def test_the_reference_s_time_is_no_candidate_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tune: Tune) -> None:
    clock = HangClock(tmp_path / "clock", 1.5 * PATIENCE_S)
    monkeypatch.setenv("REFERENCE_CLOCK", str(clock.file))
    with ticking(clock):
        (result,) = tune(SLOW_REFERENCE, timeout_s=PATIENCE_S).workloads
    tried = {candidate.key: candidate.reason for candidate in result.candidates if candidate.status in FAILED}
    assert tried == {}
    # One for all candidates, of the scores and of the other ones in the same tensors.
    assert clock.leaps.stat().st_size == 2


def test_without_a_reference_no_candidate_is_blamed(tune: Tune) -> None:
    run = tune(BROKEN_REFERENCE)
    (result,) = run.workloads
    tried = [candidate for candidate in result.candidates if candidate.status != "unsupported"]
    assert tried
    for candidate in tried:
        assert candidate.status == "skipped"
        assert candidate.reason == "the reference of case normal can't be computed: MemoryError: 40 GB"
    assert (result.choice, result.stopped, run.complete) == (None, "reference", False)


def test_a_winner_is_held_to_the_rough_times_of_those_it_beat(tune: Tune) -> None:
    (result,) = tune(FADES, use_cache=True, backends=("mine", "other")).workloads
    found = candidates(result)
    assert found["mine.fades"].rough_us is not None
    assert found["mine.fades"].rough_us < 2000.0
    steady = found["other.steady"]
    assert len(steady.rounds) >= 3, steady
    assert steady.median_us is not None
    assert steady.median_us < 10_000.0
    assert result.warnings == ()


def test_own_candidates_are_raced_to_the_end_in_a_fresh_run(tune: Tune) -> None:
    (result,) = tune(OWN).workloads
    mine = candidates(result)["mine.slow"]
    assert mine.status == "ok"
    assert len(mine.rounds) >= 3


def test_a_budget_that_the_start_alone_exceeds(tune: Tune) -> None:
    with pytest.raises(BudgetTooSmall, match=r"budget 0\.2s is too small: starting"):
        tune("import threading\nthreading.Event().wait()  # the file is loaded while the worker starts", budget_s=0.2)


def test_a_budget_bounds_what_has_no_right_candidate_yet(autotune: Autotune) -> None:
    """Each of three candidates hangs, for much longer than there is."""
    clock = CountingClock(autotune.root / "clock", 0.1)
    file = autotune.root / "hangs.py"
    file.write_text(
        HEAD + "def hang(*a, **o):\n"
        "    while True:\n"
        f"        with open({str(clock.file)!r}, 'ab') as clock:\n"
        "            clock.write(b'.')\n"
        "            steps = clock.tell()\n"
        f"        while os.path.getsize({str(clock.seen)!r}) < steps:\n"
        "            time.sleep(0.001)\n"
        '@register("topk.select", name="mine.hangs", knobs={"n": (0, 1, 2)}, devices=("cpu",))\n'
        "def prepare(problem, n):\n    hang()\n"
        "torch.topk = hang\n"
    )
    options = ("--op", "topk", "--batch", "1", "--context", "4096", "--scores", "tie_free", "--kernels", file)
    with ticking(clock):
        run = autotune.tune(*options, "--backend", "mine", "--no-cache", "--budget", "8s", code=4).run
    assert run.wall_s <= 1.2 * 8.0
    (result,) = run.workloads
    assert result.choice is None
    tried = [candidate for candidate in result.candidates if candidate.status != "unsupported"]
    assert all("the budget was spent" in (candidate.reason or "") for candidate in tried)
