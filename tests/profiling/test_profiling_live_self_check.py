"""``--self-check`` on a path that was run: kernels that were run on purpose must be stopped, and it must show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from live_builders import CLASSIFY, PAGED, PAIR, RAGGED, live, path, recorded, right
from trace_builders import CUDNN, FA2_PAGED, FA2_RAGGED, FILL, STRANGE, TOPK

from autotune_cli.profiling.classify import Classifier, parse_rules
from autotune_cli.profiling.findings import PhaseVerdict, ProfileVerdict
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.recording.recorded import Recorded
from autotune_cli.profiling.request import Injected

FORCED = path(forced_paged=True)
KERNEL: dict[Injected, str] = {"ragged": FA2_RAGGED, "dense": CUDNN}
EMPTIED = "all kernels taken away: nothing to judge, exit 3"


def inject(folder: Path, spec: PathSpec, family: Injected, kernel: str = "", **more: Any) -> Recorded:
    """The same path with one kernel more in each phase."""
    ran = {name: (*names, kernel or KERNEL[family]) for name, names in right(spec).items()}
    return recorded(folder / f"injected-{family}.json.gz", spec, more.pop("ran", ran), injected=family, **more)


def check(
    folder: Path, spec: PathSpec, others: Sequence[Recorded], classify: Classifier = CLASSIFY
) -> tuple[ProfileVerdict, list[str], list[str]]:
    verdict, tried = judge_live_run(live(folder, spec, injected=others), classify, "t")
    return verdict, tried, [problem.text for problem in verdict.problems if problem.code == "self_check"]


def test_both_kernels_are_stopped_in_every_phase(tmp_path: Path) -> None:
    verdict, tried, faults = check(tmp_path, FORCED, [inject(tmp_path, FORCED, family) for family in KERNEL])
    assert (verdict.exit_code, faults) == (0, [])
    assert tried == [
        *(f"a {family} kernel run in {plan.name}: stopped" for family in KERNEL for plan in FORCED.phases),
        EMPTIED,
    ]


def test_without_injected_recordings_nothing_is_tried(tmp_path: Path) -> None:
    assert check(tmp_path, FORCED, [])[1:] == ([], [])


def test_rules_that_let_all_through_are_found(tmp_path: Path) -> None:
    blind = Classifier(
        [*parse_rules('\'cudnn\' = { family = "benign", library = "x", reason = "y" }', "x"), *CLASSIFY.rules]
    )
    verdict, tried, faults = check(tmp_path, FORCED, [inject(tmp_path, FORCED, "dense")], blind)
    assert verdict.exit_code == 1
    assert tried == [EMPTIED]
    assert faults == [f"a dense kernel run in {plan.name} does not show in the recording" for plan in FORCED.phases]
    assert all(problem.is_violation for problem in verdict.problems)


def test_a_kernel_that_the_recording_does_not_show_was_not_stopped(tmp_path: Path) -> None:
    lame = inject(tmp_path, FORCED, "ragged", ran=right(FORCED))
    verdict, _, faults = check(tmp_path, FORCED, [lame])
    assert verdict.exit_code == 1
    assert faults == [f"a ragged kernel run in {plan.name} does not show in the recording" for plan in FORCED.phases]


def test_another_violation_is_no_stop(tmp_path: Path) -> None:
    """The phase fails, though not for what was injected."""
    ran = {name: (*names, CUDNN) for name, names in right(FORCED).items()}
    _, tried, faults = check(tmp_path, FORCED, [inject(tmp_path, FORCED, "ragged", ran=ran)])
    assert tried == [EMPTIED]
    assert len(faults) == len(FORCED.phases)


def test_a_phase_that_failed_already_must_still_stop_it(tmp_path: Path) -> None:
    """What is stopped is told from what was wrong before."""
    wrong = {name: (*names, FA2_RAGGED) for name, names in right(FORCED).items()}
    more = {name: (*names, FA2_RAGGED) for name, names in wrong.items()}
    other = recorded(tmp_path / "p.json.gz", FORCED, more, injected="ragged")
    same = recorded(tmp_path / "q.json.gz", FORCED, wrong, injected="ragged")
    run = live(tmp_path, FORCED, wrong, injected=[other])
    verdict, tried = judge_live_run(run, CLASSIFY, "t")
    assert verdict.exit_code == 1
    assert "a ragged kernel run in eager: stopped" in tried
    verdict, _ = judge_live_run(live(tmp_path, FORCED, wrong, injected=[same]), CLASSIFY, "t")
    assert "a ragged kernel run in eager does not show in the recording" in [one.text for one in verdict.problems]


def test_a_graph_shows_it_by_its_nodes(tmp_path: Path) -> None:
    """A capture runs nothing: if the nodes lack the kernel, it is not in the graph."""
    other = inject(tmp_path, FORCED, "dense", nodes=PAGED)
    _, tried, faults = check(tmp_path, FORCED, [other])
    assert faults == ["a dense kernel run in capture does not show in the recording"]
    assert "a dense kernel run in replay: stopped" in tried


@pytest.mark.parametrize("failed", ["eager", "capture", "replay", "piecewise"])
def test_a_phase_in_which_it_could_not_be_run_is_not_passed_over(tmp_path: Path, failed: str) -> None:
    other = inject(tmp_path, FORCED, "dense", **{failed: {"error": "RuntimeError: can't be captured"}})
    verdict, tried, faults = check(tmp_path, FORCED, [other])
    assert verdict.exit_code == 1
    assert faults == [f"a dense kernel run in {failed}: RuntimeError: can't be captured"]
    assert len(tried) == len(FORCED.phases)
    lost = {name: (*names, CUDNN) for name, names in right(FORCED).items() if name != failed}
    _, _, faults = check(tmp_path, FORCED, [inject(tmp_path, FORCED, "dense", ran=lost)])
    assert faults == [f"a dense kernel run in {failed}: its range is not in the recording"]


def test_a_phase_that_is_not_there_anyway_needs_no_injected_kernel(tmp_path: Path) -> None:
    spec = path("dllm_extend", forced_paged=True)
    error = {"error": "not run: what is planned is not what would run"}
    both = dict.fromkeys(("capture", "replay"), error)
    other = recorded(tmp_path / "p.json.gz", spec, {"eager": (*PAGED, CUDNN)}, injected="dense", **both)
    verdict, tried = judge_live_run(live(tmp_path, spec, {"eager": PAGED}, [other], **both), CLASSIFY, "t")
    assert tried == ["a dense kernel run in eager: stopped", EMPTIED]
    assert {problem.code for problem in verdict.problems} == {"planned_not_executed"}


def test_ragged_kernels_belong_to_the_ragged_path(tmp_path: Path) -> None:
    alone = path(prefix=False, phases=("eager",))
    assert right(alone) == {"eager": RAGGED}
    _, tried, faults = check(tmp_path, alone, [inject(tmp_path, alone, family) for family in KERNEL])
    assert faults == []
    assert tried[:2] == [
        "a ragged kernel run in eager: allowed, as it must be",
        "a dense kernel run in eager: stopped",
    ]
    # Beside a prefix each ragged call takes a paged one and a merge: one more is noticed.
    pair = path(phases=("eager",))
    assert right(pair) == {"eager": PAIR}
    assert check(tmp_path, pair, [inject(tmp_path, pair, "ragged")])[1] == [
        "a ragged kernel run in eager: stopped",
        EMPTIED,
    ]


def test_where_only_names_are_judged_all_is_allowed(tmp_path: Path) -> None:
    spec = path(backend="torch.sdpa", phases=("eager",))
    other = recorded(tmp_path / "p.json.gz", spec, {"eager": (CUDNN, CUDNN)}, injected="dense")
    verdict, tried = judge_live_run(live(tmp_path, spec, {"eager": (CUDNN,)}, [other]), CLASSIFY, "t")
    assert verdict.exit_code == 0
    assert tried == ["a dense kernel run in eager: allowed, as only names are judged", EMPTIED]


def test_attention_beside_a_selection_is_stopped(tmp_path: Path) -> None:
    spec = path("topk", "deepseek-v3.2", batch=4, phases=("eager",))
    other = [
        recorded(tmp_path / f"{family}.json.gz", spec, {"eager": (TOPK, kernel)}, injected=family)
        for family, kernel in KERNEL.items()
    ]
    verdict, tried = judge_live_run(live(tmp_path, spec, {"eager": (FILL, TOPK)}, other), CLASSIFY, "t")
    assert verdict.exit_code == 0
    assert tried == [f"a {family} kernel run in eager: stopped" for family in KERNEL] + [EMPTIED]


def test_what_was_wrong_before_does_not_stop_it(tmp_path: Path) -> None:
    alone = path(prefix=False, phases=("eager",))
    strange = {"eager": (*RAGGED, STRANGE)}
    other = recorded(tmp_path / "p.json.gz", alone, {"eager": (*RAGGED, STRANGE, FA2_RAGGED)}, injected="ragged")
    verdict, tried = judge_live_run(live(tmp_path, alone, strange, [other]), CLASSIFY, "t")
    assert verdict.exit_code == 1
    assert tried[0] == "a ragged kernel run in eager: allowed, as it must be"


@pytest.mark.parametrize("shape", ["paged", "pair"])
def test_a_judge_that_lets_all_through_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    from autotune_cli.profiling import live_verdict as module

    monkeypatch.setattr(module, "judge_phase", lambda phase, expectation, found=(): PhaseVerdict(phase, "ok"))
    spec = path(forced_paged=shape == "paged", phases=("eager",))
    verdict, _, faults = check(tmp_path, spec, [inject(tmp_path, spec, family) for family in KERNEL])
    assert faults == [f"a {family} kernel run in eager was not stopped" for family in KERNEL]
    assert verdict.exit_code == 1


def test_a_judge_that_passes_nothing_at_all_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty recording must be exit 3."""
    from autotune_cli.profiling import emptied

    monkeypatch.setattr(emptied, "judge", lambda recording, expectation: ProfileVerdict(recording, expectation, ()))
    spec = path(forced_paged=True, phases=("eager",))
    verdict, _, faults = check(tmp_path, spec, [inject(tmp_path, spec, "dense", FA2_PAGED)])
    assert "without any kernel the exit code is 0, not 3" in faults
    assert verdict.exit_code == 1
