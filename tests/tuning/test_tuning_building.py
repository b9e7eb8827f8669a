"""Real builder processes: they work side by side, and each way to fail is a status of what needs the module."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import HangClock, ticking
from running import candidates, in_session

from autotune_cli.kernels.models import build_suite
from autotune_cli.results.schema import CandidateResult, RunFile
from autotune_cli.tuning import building
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.progress import BuildsState, TuneProgress
from autotune_cli.tuning.request import Request
from autotune_cli.tuning.run import tune
from autotune_cli.worker.protocol import WorkerSettings

KERNELS = Path(__file__).with_name("building_kernels.py")
# By which the program's clock leaps for a build that hangs. Of a budget of 1000 s builds have 500 at most.
LEAP_S = 600.0
BUDGET_S = 1000.0


class Seen(TuneProgress):
    """What a watcher is told of the builds."""

    def __init__(self) -> None:
        self.states: list[BuildsState] = []

    def builds(self, state: BuildsState) -> None:
        self.states.append(state)


class Site:
    """Runs over modules that are kept in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = monkeypatch
        self.seen = Seen()
        monkeypatch.setenv("BUILDING_FOLDER", str(folder))
        monkeypatch.setattr(building, "cores", lambda: 4)
        monkeypatch.setattr(building, "free_bytes", lambda: 64 << 30)
        monkeypatch.delenv("MAX_JOBS", raising=False)

    def tune(self, *backends: str, batches: str = "2", **options: object) -> RunFile:
        self.patch.setenv("BUILDING_BACKENDS", ",".join(backends))
        suite = build_suite(None, "cpu", operations="topk", batches=batches, contexts="4096", scores="normal")
        fields = {
            "name": "built",
            "workloads": suite.workloads,
            "worker": WorkerSettings("cpu", kernel_files=(str(KERNELS),)),
            "policy": RacePolicy.for_cpu().with_rounds(3),
            "root": self.folder,
            "use_cache": False,
            "backends": ("built", "torch"),
        }
        with ticking(HangClock(self.folder / "clock", LEAP_S)):
            return tune(Request(**(fields | options)), self.seen, threading.Event()).run  # type: ignore[arg-type]

    def builds(self, module: str) -> list[list[str]]:
        """One line each time that a module was built: process, torch loaded?, GPUs, compilers, target."""
        log = self.folder / f"{module}.log"
        return [line.split("|") for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def built(run: RunFile) -> dict[str, CandidateResult]:
    (result,) = run.workloads
    assert result.choice is not None
    return candidates(result, "built.")


def test_modules_are_built_side_by_side_each_in_a_process_of_its_own(site: Site) -> None:
    """Each build waits for another one to have begun, so one after another none would ever end."""
    run = site.tune("left", "right", "pair")
    found = built(run)
    assert {name: result.status in ("ok", "eliminated") for name, result in found.items()} == {
        "left(n=0)": True,
        "right(n=0)": True,
        "pair(n=0)": True,
    }, found
    builds = [site.builds(module) for module in ("left", "right", "first", "second")]
    assert [len(lines) for lines in builds] == [1, 1, 1, 1]  # the worker found them
    assert len({lines[0][0] for lines in builds}) == 4
    # No torch, no GPU, one of the four cores for each, and what the module says of its target.
    assert {tuple(lines[0][1:]) for lines in builds} == {("False", "", "1", "9.0a")}
    last = site.seen.states[-1]
    assert set(last.built) == {"left", "right", "first", "second"}
    assert max(len(state.running) for state in site.seen.states) == 4
    # And the time that loading them takes. What was built is counted in whole milliseconds.
    assert (found["left(n=0)"].build_s or 0.0) >= last.built["left"] - 1e-3
    assert (found["pair(n=0)"].build_s or 0.0) >= last.built["first"] + last.built["second"] - 1e-3


FAILURES: dict[str, tuple[str, str, int, str]] = {
    "fails": ("failing", "error", 1, r'^building failing: mine\.cuh\(12\): error: identifier "oops" is undefined$'),
    "segfaults": ("crashing", "crashed", 1, r"^building crashing: killed by SIGSEGV, in File .*building_kernels\.py"),
    "exits": ("exiting", "crashed", 1, r"^building exiting: it calls exit\(3\)$"),
    "always_killed": ("starving", "crashed", 2, r"^building starving: killed by SIGKILL \(out of host memory\?\)"),
}


def test_what_can_not_be_built_is_a_status_of_all_who_need_it(site: Site) -> None:
    """Built once, or twice where memory may have been short; never again for each candidate or workload."""
    run = site.tune(*FAILURES, "left", "right", batches="1,2")
    for result in run.workloads:
        assert result.choice is not None
        for name, (_, status, _, reason) in FAILURES.items():
            hit = candidates(result, f"built.{name}(")
            assert {"fails": 3, "exits": 1}.get(name, 2) == len(hit)
            for candidate in hit.values():
                assert candidate.status == status
                assert re.search(reason, candidate.reason or ""), candidate.reason
        assert candidates(result)["built.left(n=0)"].status in ("ok", "eliminated")
    assert {name: len(site.builds(module)) for name, (module, *_) in FAILURES.items()} == {
        name: times for name, (_, _, times, _) in FAILURES.items()
    }
    assert run.complete
    last = site.seen.states[-1]
    assert set(last.failed) == {module for module, *_ in FAILURES.values()}
    assert (last.done, last.total, last.running) == (6, 6, {})


def test_a_build_that_hangs_is_killed_at_its_time_limit(site: Site) -> None:
    found = built(site.tune("hangs", build_timeout_s=500.0))
    assert [result.status for result in found.values()] == ["timeout", "timeout"]
    assert all(
        re.search(r"^building hanging: no answer within 500 s", result.reason or "") for result in found.values()
    )
    assert in_session(int((site.folder / "compiler").read_text())) == []


@pytest.mark.parametrize(("name", "module"), [("killed_once", "starved"), ("compiler_killed", "hungry")])
def test_who_was_killed_has_another_try_alone(site: Site, name: str, module: str) -> None:
    found = built(site.tune(name, "left", "right"))
    assert found[f"{name}(n=0)"].status in ("ok", "eliminated"), found
    assert len(site.builds(module)) == 2
    again = [state for state in site.seen.states if module in state.running][-1]
    assert set(again.running) == {module}
    assert {"left", "right"} <= set(again.built)


def test_with_everything_compiled_no_builder_is_started(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("left", "right"):
        (site.folder / f"{module}.done").touch()

    def never(*_: object) -> None:
        raise AssertionError("a builder was started")

    monkeypatch.setattr(building.BuilderProcess, "__init__", never)
    found = built(site.tune("left", "right"))
    assert [result.status in ("ok", "eliminated") for result in found.values()] == [True, True]
    assert site.seen.states == []
    assert all(result.build_s is not None for result in found.values())


def test_the_budget_stops_builders(site: Site) -> None:
    run = site.tune("hangs", budget_s=BUDGET_S)
    found = built(run)
    assert [result.status for result in found.values()] == ["skipped", "skipped"]
    assert all("the budget was spent" in (result.reason or "") for result in found.values())
    assert not run.complete
    assert site.seen.states[-1].skipped == 1
    assert run.wall_s < BUDGET_S


def test_without_a_right_candidate_the_race_s_time_is_for_a_build(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workload that is left without a winner is of no use: then a module is built when its turn comes."""
    monkeypatch.setenv("BUILDING_BREAKS_TORCH", "1")
    found = built(site.tune("hangs_once", budget_s=BUDGET_S))
    assert site.seen.states[-1].skipped == 1
    assert found["hangs_once(n=0)"].status == "ok", found
    assert len(site.builds("slow")) == 2


def test_memory_bounds_how_many_are_built_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "free_bytes", lambda: 4 << 30)  # of which a builder and its compiler may have 2.4 GB
    site.tune("killed_once", "compiler_killed", "fails")
    assert max(len(state.running) for state in site.seen.states) == 1


def test_the_users_own_bound_on_compilers_counts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "1")
    site.tune("killed_once", "compiler_killed")
    assert max(len(state.running) for state in site.seen.states) == 1
    assert site.builds("starved")[0][3] == "1"


def module(seconds: float, jobs: int, name: str = "m") -> Callable[[], building.ModuleToBuild]:
    return lambda: building.ModuleToBuild(name, name, seconds, jobs, 1.0, {}, None, None)  # type: ignore[arg-type]


def test_cores_are_shared_out_by_work() -> None:
    """What Llama-3.1-8B needs on 16 cores: fa3 as many as it has files, and the others begin with it."""
    sizes = [(600.0, 10), (130.0, 10), (50.0, 6), (25.0, 3), (20.0, 5), (20.0, 5), (10.0, 2)]
    waiting, free, given = [module(*size)() for size in sizes], 16, []
    while waiting and free:
        given.append(building.allowance(waiting[0], waiting, free))
        free -= given[-1]
        waiting = waiting[1:]
    assert given == [10, 3, 1, 1, 1]


def test_one_core_builds_one_at_a_time() -> None:
    waiting = [module(600.0, 10)(), module(10.0, 2)()]
    assert building.allowance(waiting[0], waiting, 1) == 1
    assert building.allowance(waiting[1], waiting[1:], 8) == 2
    assert building.allowance(module(0.0, 3)(), [module(0.0, 3)()], 8) == 3
