"""A step: in which order it writes and runs, and that a plan which waits is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recording_cases import CPU, DECODE, problem

from autotune_cli.profiling.recording import step as module
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.recording.step import LayerCall, PlanWaits, Step, choose, prepared
from autotune_cli.profiling.request import CandidateSpec


def call(log: list[str], name: str, write: str = "", before: bool = True) -> LayerCall:
    class Write(CacheWrite):
        def __init__(self) -> None:
            pass

        def __call__(self) -> None:
            log.append(f"write {name}")

        def forget(self) -> None:
            log.append(f"forget {name}")

    def run() -> str:
        log.append(f"run {name}")
        return f"{name}{len(log)}"

    return LayerCall(None, run, lambda: log.append(f"plan {name}"), Write() if write else None, before)


def test_a_paged_call_reads_what_was_written_and_a_ragged_one_writes_afterwards() -> None:
    log: list[str] = []
    assert call(log, "a", "write", before=True)() == "a2"
    assert call(log, "b", "write", before=False)() == "b3"
    assert call(log, "c")() == "c5"
    assert log == ["write a", "run a", "run b", "write b", "run c"]


def test_kinds_of_layers_take_turns() -> None:
    log: list[str] = []
    step = Step([call(log, "a"), call(log, "b")], 5)
    # The outputs are those of the last call of each kind.
    assert step.run() == ["a5", "b4"]
    assert log == ["run a", "run b", "run a", "run b", "run a"]


def test_an_injected_kernel_runs_after_the_layers() -> None:
    log: list[str] = []
    Step([call(log, "a")], 2, lambda: log.append("injected")).run()
    assert log == ["run a", "run a", "injected"]


def test_each_kind_is_planned_and_forgotten_once() -> None:
    log: list[str] = []
    step = Step([call(log, "a", "write"), LayerCall(None, lambda: None), call(log, "b")], 9)
    step.plan()
    step.forget()
    assert log == ["plan a", "plan b", "forget a"]


def waiting() -> None:
    raise RuntimeError("called a synchronizing CUDA operation")


def test_a_plan_that_waits_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises so in the sync debug mode "error", which only a CUDA device has."""
    entered: list[str] = []

    class Guard:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.append("out")

    monkeypatch.setattr(module, "no_waiting", Guard)
    step = Step([LayerCall(None, lambda: None, waiting, forbid_waiting=True)], 1)
    with pytest.raises(PlanWaits, match=r"planning waits for the device: test_recording_step\.py, line \d+"):
        step.plan()
    assert entered == ["in", "out"]
    # Not while warming up, and not where a plan may wait.
    Step([LayerCall(None, lambda: None, lambda: entered.append("plan"), forbid_waiting=True)], 1).plan(guarded=False)
    Step([LayerCall(None, lambda: None, lambda: entered.append("plan"))], 1).plan()
    assert entered == ["in", "out", "plan", "plan"]


def test_another_error_of_a_plan_is_its_own() -> None:
    def broken() -> None:
        raise RuntimeError("Buffer overflow when allocating memory for batch_prefill_tmp_v")

    with pytest.raises(RuntimeError, match="Buffer overflow"):
        Step([LayerCall(None, lambda: None, broken)], 1).plan()


@pytest.mark.parametrize("before", [0, 1])
def test_the_sync_debug_mode_is_put_back(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    modes: list[Any] = [before]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def plan() -> None:
        with module.no_waiting():
            assert modes[-1] == "error"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        plan()
    assert modes == [before, "error", before]


def test_a_step_on_a_cpu() -> None:
    """The real parts together: what is forgotten is written, attended to, and right."""
    made = problem(DECODE)
    candidate = choose(CandidateSpec("torch.eager"), made.workload, CPU)
    ready = prepared(candidate, made)
    step = Step([LayerCall(made, ready.run, ready.plan, CacheWrite(made, 1), True, ready=ready)], 2)
    step.forget()
    step.plan()
    (output,) = step.run()
    assert made.check(output).ok
    step.forget()
    # As SGLang's paged path would be if it wrote afterwards.
    step.kinds[0].writes_before = False
    step.count = 1
    (output,) = step.run()
    assert not made.check(output).ok
