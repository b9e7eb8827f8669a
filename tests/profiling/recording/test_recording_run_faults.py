"""What goes wrong in a path is noticed, and keeps no other phase from being run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
import torch
from recording_paths import PADDED, RIGHT, checks, phases, spec

from autotune_cli.profiling.recording import cache_write, padded, run, step
from autotune_cli.profiling.recording.graph_nodes import NodesUnavailable
from autotune_cli.profiling.recording.step import PlanWaits


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)


@pytest.mark.parametrize(
    ("forced", "phase"), [(True, "eager"), (True, "replay"), (False, "replay"), (True, "piecewise")]
)
def test_a_path_that_does_not_write_its_keys_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool, phase: Any
) -> None:
    """Before each phase the new tokens' keys are forgotten: a paged call over all keys must find them written."""
    monkeypatch.setattr(cache_write.CacheWrite, "__call__", lambda self: None)
    found = phases(spec(forced_paged=forced, phases=(phase,)), tmp_path)
    assert checks(found[phase])["wrong_output"] is False


def test_a_ragged_path_does_not_need_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_write.CacheWrite, "__call__", lambda self: None)
    assert checks(phases(spec(phases=("eager",)), tmp_path)["eager"]) == RIGHT


def test_what_is_left_behind_the_real_rows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "zero_", lambda self: self)
    found = phases(spec(forced_paged=True, pad_mode="narrow", phases=("piecewise",)), tmp_path)
    assert checks(found["piecewise"])["bad_padding"] is False


def test_padding_that_touches_the_real_rows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its metadata, by the rows' bits and by the judge."""
    real = padded.write_fake_request

    def spoil(buffers: Any, *numbers: int) -> tuple[int, int]:
        buffers.kv_indices[0:1] = 0
        return real(buffers, *numbers)

    monkeypatch.setattr(padded, "write_fake_request", spoil)
    found = phases(spec(forced_paged=True, phases=("eager", "piecewise")), tmp_path)
    assert checks(found["piecewise"]) == {"padding_changes_rows": False, "wrong_output": False, "bad_padding": False}
    assert checks(found["eager"]) == RIGHT


def test_a_phase_that_fails_does_not_keep_the_others_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError(
            "CUDA error: operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA"
        )

    monkeypatch.setattr(torch.cuda, "graph", broken)
    found = phases(spec(forced_paged=True), tmp_path)
    error = "RuntimeError: CUDA error: operation not permitted when stream is capturing"
    assert found["capture"].error == error
    assert found["replay"].error == "RuntimeError: there is no graph to replay: the capture failed"
    assert (found["eager"].error, found["piecewise"].error) == ("", "")
    assert checks(found["piecewise"]) == PADDED


def test_a_path_whose_plan_is_another_one_is_not_run(tmp_path: Path) -> None:
    """Fault: the wrapper that is executed is not the one that was planned. Put back: leave out the look at
    ``is_consistent`` in ``_prepare`` of recording/run.py.
    """
    found = phases(spec("dllm_extend", forced_paged=True), tmp_path)
    assert checks(found["eager"]) == RIGHT
    for name in ("capture", "replay"):
        assert found[name].error == "not run: what is planned is not what would run"
        assert found[name].checks == ()


def test_a_plan_that_waits_is_a_check_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded: list[bool] = []
    real = step.Step.plan

    def plan(self: step.Step, guarded_: bool = True, **more: Any) -> None:
        guarded.append(more.get("guarded", guarded_))
        if guarded[-1] and any(call.forbid_waiting for call in self.kinds):
            raise PlanWaits("planning waits for the device: prefill.py, line 1")
        real(self, guarded=False)

    monkeypatch.setattr(step.Step, "plan", plan)
    found = phases(spec(forced_paged=True, phases=("eager", "piecewise")), tmp_path)
    assert found["piecewise"].error == "planning waits for the device: prefill.py, line 1"
    assert checks(found["piecewise"])["plan_waits"] is False
    assert [check.ok for check in found["piecewise"].checks if check.code == "plan_waits"] == [False]
    assert found["eager"].error == ""
    # Two warm runs of each and the rehearsal may wait; those that are recorded may not.
    assert guarded.count(False) == 6


def test_without_a_list_of_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(graph: int) -> tuple[str, ...]:
        assert graph == 4711
        raise NodesUnavailable("takes cuda-bindings")

    monkeypatch.setattr(run, "kernel_nodes", unavailable)
    capture = phases(spec(forced_paged=True), tmp_path)["capture"]
    assert (capture.nodes, checks(capture), capture.error) == (None, {"graph_nodes_unavailable": False}, "")


def test_a_backend_that_is_not_safe_in_a_graph_is_refused_there(tmp_path: Path) -> None:
    """FlashInfer #5176: some of these hang or touch illegal memory when they are captured."""
    found = phases(spec("decode", backend="flashinfer.decode(path=tensor_cores,split=false,page_size=1)"), tmp_path)
    assert found["eager"].error == ""
    for name in ("capture", "replay"):
        assert "FlashInfer #5176" in found[name].error
