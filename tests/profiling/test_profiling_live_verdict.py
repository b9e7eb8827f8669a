"""From what a worker recorded to the verdict: every rule is shown to be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_builders import PAGED, PAIR, RAGGED, judged, live, path, problems, recorded, right, states, texts
from trace_builders import CUDNN, FA2_PAGED, FA2_RAGGED, FILL, MERGE, STRANGE, TOPK, ChromeTrace

from autotune_cli.profiling.recording.recorded import Check

FORCED = path(forced_paged=True)


def test_all_phases_pass(tmp_path: Path) -> None:
    verdict = judged(live(tmp_path, FORCED))
    assert (verdict.exit_code, problems(verdict)) == (0, [])
    assert states(verdict) == {"eager": "ok", "capture": "ok", "replay": "ok", "piecewise": "ok"}
    assert verdict.recording.devices == ("NVIDIA H200",)
    for phase in verdict.phases:
        assert phase.phase.launches("paged") == 2
        assert phase.phase.facts[0] == "planned and executed paged (extend: " + (
            "a prefill in one whole CUDA graph)"
            if phase.phase.name in ("capture", "replay")
            else "piecewise CUDA graph and forced paged)"
            if phase.phase.name == "piecewise"
            else "forced paged)"
        )
        assert phase.phase.facts[1] == "flashinfer.paged(path=fa2,page_size=1)"
    facts = {phase.phase.name: phase.phase.facts[2:] for phase in verdict.phases}
    assert facts.pop("replay") == ("the replay ran the kernel nodes of its graph, no more and no fewer",)
    assert set(facts.values()) == {()}


def test_a_plan_that_is_not_what_runs(tmp_path: Path) -> None:
    """SGLang's dllm_extend under its environment flag: those phases can't be run, and that is a violation."""
    spec = path("dllm_extend", forced_paged=True)
    error = {"error": "not run: what is planned is not what would run"}
    run = live(tmp_path, spec, {"eager": PAGED}, capture=error, replay=error)
    verdict = judged(run)
    assert (verdict.exit_code, problems(verdict)) == (1, [("", "planned_not_executed")] * 2)
    assert "replay: planned paged, executed ragged (dllm_extend in a graph" in texts(verdict)
    assert states(verdict) == {"eager": "ok"}


def test_a_phase_that_could_not_be_run(tmp_path: Path) -> None:
    failed = {name: {"error": "E: x"} for name in ("capture", "replay", "piecewise")}
    run = live(tmp_path, FORCED, {"eager": PAGED}, **failed)
    verdict = judged(run)
    assert (verdict.exit_code, problems(verdict)) == (4, [("", "phase_failed")] * 3)
    assert "piecewise: E: x" in texts(verdict)
    # A violation outweighs it.
    worse = live(tmp_path, FORCED, {"eager": RAGGED}, replay={"error": "E: x"}, capture={"error": "y"})
    assert judged(worse).exit_code == 1


def test_nothing_could_be_run(tmp_path: Path) -> None:
    run = live(tmp_path, FORCED, {}, **{plan.name: {"error": "OutOfMemoryError: x"} for plan in FORCED.phases})
    verdict = judged(run)
    assert verdict.exit_code == 4
    assert problems(verdict)[0] == ("", "phase_failed")


@pytest.mark.parametrize(
    "code", ["wrong_output", "bits_differ", "bad_padding", "padding_changes_rows", "plan_waits", "anything"]
)
def test_a_failed_check_is_a_violation_of_its_code(tmp_path: Path, code: str) -> None:
    checks = (Check("piecewise", "fine", True, "all is well"), Check("piecewise", code, False, "it is not"))
    verdict = judged(live(tmp_path, FORCED, piecewise={"checks": checks}))
    assert (verdict.exit_code, problems(verdict)) == (1, [("piecewise", code)])
    assert states(verdict)["piecewise"] == "failed"
    assert verdict.phases[3].phase.facts[-1] == "all is well"
    assert texts(verdict) == "it is not"


def test_a_plan_that_waits_is_said_once(tmp_path: Path) -> None:
    """The phase wasn't run, since its plan waited: that is the violation, not a failure beside it."""
    checks = (Check("piecewise", "plan_waits", False, "planning waits for the device: x.py, line 3"),)
    ran = {name: names for name, names in right(FORCED).items() if name != "piecewise"}
    verdict = judged(live(tmp_path, FORCED, ran, piecewise={"error": "planning waits", "checks": checks}))
    assert (verdict.exit_code, problems(verdict)) == (1, [("", "plan_waits")])
    assert texts(verdict) == "piecewise: planning waits for the device: x.py, line 3"


def test_each_phase_has_a_shape_of_its_own(tmp_path: Path) -> None:
    """SGLang's extend, unforced: ragged, paged and a merge when eager, paged alone in graphs."""
    spec = path()
    assert [plan.shape for plan in spec.phases] == ["pair", "paged", "paged", "paged"]
    assert judged(live(tmp_path, spec)).exit_code == 0
    for name in right(spec):
        swapped = {**right(spec), name: PAGED if name == "eager" else PAIR}
        if name in ("capture", "replay"):
            swapped |= {"capture": PAIR, "replay": PAIR}
        verdict = judged(live(tmp_path, spec, swapped))
        assert verdict.exit_code == 1
        assert name in {phase for phase, _ in problems(verdict)}
    alone = path(prefix=False, phases=("eager",))
    assert judged(live(tmp_path, alone)).exit_code == 0
    assert judged(live(tmp_path, alone, {"eager": PAIR})).exit_code == 1
    assert judged(live(tmp_path, spec, {**right(spec), "eager": (FA2_RAGGED, FA2_PAGED, MERGE, MERGE)})).exit_code == 1


def test_a_selection_shows_its_kernel_and_no_attention(tmp_path: Path) -> None:
    spec = path("topk", "deepseek-v3.2", batch=4)
    ran = dict.fromkeys(("eager", "capture", "replay"), (FILL, TOPK))
    verdict = judged(live(tmp_path, spec, ran), expects=["FilteredTopK"])
    assert (verdict.exit_code, problems(verdict)) == (0, [])
    assert judged(live(tmp_path, spec, ran), expects=["RadixTopK"]).exit_code == 1
    assert judged(live(tmp_path, spec, ran), forbids=["FilteredTopK"]).exit_code == 1
    assert problems(judged(live(tmp_path, spec, {**ran, "eager": (TOPK, FA2_PAGED)}))) == [
        ("eager", "forbidden_family")
    ]
    assert problems(judged(live(tmp_path, spec, {**ran, "eager": (TOPK, STRANGE)}))) == [("eager", "unknown_kernel")]
    none = judged(live(tmp_path, spec, dict.fromkeys(ran, (FILL,))))
    assert (none.exit_code, states(none)["eager"]) == (3, "nothing")
    assert "1 GPU kernel but no top-k kernel among them" in texts(none)


def test_another_backend_shows_anything_unless_paged_is_asked_for(tmp_path: Path) -> None:
    ran = {"eager": (CUDNN,)}
    spec = path(backend="torch.sdpa", phases=("eager",))
    assert judged(live(tmp_path, spec, ran)).exit_code == 0
    assert judged(live(tmp_path, spec, ran), expects=["nothing"]).exit_code == 1
    forced = path(backend="torch.sdpa", phases=("eager",), forced_paged=True)
    assert judged(live(tmp_path, forced, ran)).exit_code == 1


@pytest.mark.parametrize("empty", ["eager", "replay", "piecewise"])
def test_a_phase_without_a_kernel_is_nothing_to_judge(tmp_path: Path, empty: str) -> None:
    ran = {**right(FORCED), empty: ()}
    nodes = () if empty == "replay" else None
    verdict = judged(live(tmp_path, FORCED, ran, nodes=nodes))
    assert verdict.exit_code == 3
    codes = {code for phase, code in problems(verdict) if phase == empty}
    assert (
        codes == {"graph_without_kernels", "nothing_recorded"} if empty == "replay" else codes == {"nothing_recorded"}
    )


@pytest.mark.parametrize("lost", ["eager", "capture", "replay", "piecewise"])
def test_a_phase_that_the_trace_lost_is_no_pass(tmp_path: Path, lost: str) -> None:
    """It ran without an error, and nothing shows it: the others must not stand for it."""
    ran = {name: names for name, names in right(FORCED).items() if name != lost}
    verdict = judged(live(tmp_path, FORCED, ran, nodes=PAGED))
    assert (verdict.exit_code, problems(verdict)) == (3, [("", "nothing_recorded")])
    assert texts(verdict) == f"{lost}: its range is not in the recording"


def test_a_trace_without_ranges_shows_no_phase(tmp_path: Path) -> None:
    """The reader then tells eager from replay by the way of launching; that is not what was asked for."""
    trace = ChromeTrace()
    trace.kernel(FA2_PAGED).graph(FA2_PAGED)
    spec = path(forced_paged=True, phases=("eager", "replay"))
    run = live(tmp_path, spec)
    trace.write(Path(run.recording.trace))
    verdict = judged(run)
    assert verdict.exit_code == 3
    assert {code for _, code in problems(verdict)} == {"nothing_recorded"}


def test_injected_recordings_do_not_reach_the_phases(tmp_path: Path) -> None:
    other = recorded(tmp_path / "p.json.gz", FORCED, dict.fromkeys(right(FORCED), (*PAGED, CUDNN)), injected="dense")
    verdict = judged(live(tmp_path, FORCED, injected=[other]))
    assert verdict.exit_code == 0
    assert all(not phase.phase.launches("dense") for phase in verdict.phases)
