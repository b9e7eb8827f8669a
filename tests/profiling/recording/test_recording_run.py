"""A whole path, on a GPU that is made up: what is planned, written, run, replayed and compared in each phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
from recording_paths import PADDED, RIGHT, TWO, checks, phases, ran, spec

from autotune_cli.kernels.models import load_model
from autotune_cli.kernels.topk.problem import make_problem
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.ranges import PLAN
from autotune_cli.profiling.readers.finding import read_trace
from autotune_cli.profiling.recording import run

# Of torch, before it is made up.
SESSION = run.Session


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)


@pytest.mark.parametrize("pad_mode", ["fake-request", "narrow"])
@pytest.mark.parametrize("forced", [True, False])
def test_every_phase_is_run_and_right(tmp_path: Path, forced: bool, pad_mode: Any) -> None:
    path = spec(forced_paged=forced, pad_mode=pad_mode)
    found = phases(path, tmp_path)
    assert {name: done.error for name, done in found.items()} == dict.fromkeys(found, "")
    eager = "flashinfer.paged(path=fa2,page_size=1)"
    if not forced:
        eager = "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)"
    assert found["eager"].candidates == (eager,)
    assert found["replay"].candidates == ("flashinfer.paged(path=fa2,page_size=1)",)
    assert {name: checks(done) for name, done in found.items()} == {
        "eager": RIGHT,
        "capture": {},
        "replay": RIGHT,
        "piecewise": PADDED,
    }
    assert found["capture"].nodes == ("_Z1av",)
    assert {name: done.graphs for name, done in found.items() if done.graphs} == {"replay": 1}
    texts = [check.text for check in found["piecewise"].checks]
    assert "real rows padded and not: bit-equal" in texts


@pytest.mark.parametrize("phase", ["eager", "replay", "piecewise"])
def test_a_single_call_finds_its_keys_written(tmp_path: Path, phase: Any) -> None:
    """Of several calls the first one could write for the others."""
    found = phases(spec(forced_paged=True, phases=(phase,), calls=1), tmp_path)
    assert all(checks(found[phase]).values()), found[phase].checks


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("decode", {}),
        ("mixed", {"forced_paged": True}),
        ("target_verify", {}),
        ("draft_extend", {}),
        ("dllm_extend", {}),
        ("extend", {"prefix": False, "context": 9}),
        ("extend", {"forced_paged": True, "batch": 1, "new": 33, "context": 200}),
    ],
)
def test_modes(tmp_path: Path, mode: str, values: dict[str, Any]) -> None:
    for done in phases(spec(mode, **values), tmp_path).values():
        assert done.error == ""
        assert all(check.ok for check in done.checks), done.checks


def test_kinds_of_layers(tmp_path: Path) -> None:
    found = phases(spec(model=TWO, forced_paged=True, calls=5), tmp_path)
    assert {len(done.candidates) for done in found.values()} == {2}
    for done in found.values():
        assert done.error == ""
        assert all(check.ok for check in done.checks), done.checks


def test_bit_for_bit(tmp_path: Path) -> None:
    found = phases(spec(forced_paged=True, bitwise=True), tmp_path)
    assert checks(found["eager"]) == {**RIGHT, "bits_differ": True}
    assert checks(found["replay"]) == {**RIGHT, "bits_differ": True}


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_the_trace_has_the_phases_ranges_and_nothing_is_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's profiler on a CPU: ranges, and no kernel. Never a pass."""
    reports: list[str] = []
    path = spec(forced_paged=True)
    monkeypatch.setattr(run, "kernel_nodes", lambda graph: ())
    monkeypatch.setattr(run, "Session", SESSION)
    live = ran(path, tmp_path, reports)
    trace = read_trace(Path(live.recording.trace))
    names = [span.name for span in trace.spans]
    assert {name for name in names if name.startswith("phase.")} == {f"phase.{plan.name}" for plan in path.phases}
    assert names.count(PLAN) == len(path.phases)
    # What is run before, so that no phase pays for a session's first step, is not in it.
    assert [text for text in reports if text.startswith("rehearse ")] == [
        f"rehearse {name}: flashinfer.paged(path=fa2,page_size=1)" for name in ("eager", "capture", "piecewise")
    ]
    assert "rehearsal" not in names
    verdict, _ = judge_live_run(live, load_classifier(), path.title)
    assert verdict.exit_code == 3
    assert {problem.code for phase in verdict.phases for problem in phase.problems} == {"nothing_recorded"}
    assert verdict.recording.devices == (fake_cuda.DEVICE.name,)
    assert reports[:3] == [
        "prepare eager: flashinfer.paged(path=fa2,page_size=1)",
        "build flashinfer.paged(path=fa2,page_size=1)",
        "prepare eager",
    ]
    assert [text for text in reports if text.startswith("run ")] == [
        f"run {plan.name}: flashinfer.paged(path=fa2,page_size=1)" for plan in path.phases
    ]
    # A reference takes time of its own.
    assert reports[-1] == "compare outputs"


def test_a_replay_alone_captures_before_the_recording(tmp_path: Path) -> None:
    found = phases(spec(forced_paged=True, phases=("replay",)), tmp_path)
    assert checks(found["replay"]) == RIGHT
    assert found["replay"].graphs == 1


@pytest.mark.parametrize("family", ["ragged", "dense"])
def test_an_injected_kernel_runs_in_every_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Any) -> None:
    launched: list[str] = []
    reports: list[str] = []
    monkeypatch.setattr(run, "injected", lambda name, problem: lambda: launched.append(name))
    live = ran(spec(forced_paged=True, injected=(family,)), tmp_path, reports)
    (other,) = live.injected
    assert (other.injected, live.recording.injected) == (family, None)
    assert Path(other.trace).name == f"injected-{family}.json.gz"
    assert {done.plan.name: done.error for done in other.phases} == dict.fromkeys(
        ("eager", "capture", "replay", "piecewise"), ""
    )
    # Two warm runs, and one in the recording, of three steps; a capture is run by its replay.
    assert launched == [family] * len(launched)
    assert len(launched) >= 9
    # Outputs are those of the plain recording.
    assert all(done.checks == () for done in other.phases)
    # What it compiles has a build's time.
    assert f"build a {family} kernel to inject" in reports


def test_a_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deepseek = load_model("deepseek-v3.2")
    path = spec("topk", deepseek, backend="torch.topk", new=None, batch=2, context=5000, bitwise=True)
    monkeypatch.setattr(run, "problem_of", lambda layer, seed: make_problem(layer.workload, "normal", "cpu", seed))
    found = phases(path, tmp_path)
    assert {name: done.error for name, done in found.items()} == dict.fromkeys(("eager", "capture", "replay"), "")
    assert checks(found["eager"]) == RIGHT
    assert checks(found["replay"]) == {**RIGHT, "bits_differ": True}
    assert found["replay"].candidates[0].startswith("torch.topk")


def test_a_windowed_extend_on_the_ragged_path(tmp_path: Path) -> None:
    found = phases(spec(model=TWO, phases=("eager", "breakable")), tmp_path)
    pair = "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)"
    assert {done.candidates for done in found.values()} == {(pair, pair)}
    assert checks(found["eager"]) == RIGHT
    assert checks(found["breakable"]) == PADDED
