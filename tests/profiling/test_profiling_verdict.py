"""The judge: every rule is shown to be able to fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from trace_builders import (
    CUDNN,
    FA2_PAGED,
    FA2_RAGGED,
    FA3_PAGED,
    FA3_RAGGED,
    FA3_SINGLE,
    FILL,
    GEMM,
    MERGE,
    SPLIT_MERGE,
    STRANGE,
    TOPK,
    TORCH_SOFTMAX,
)

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.checks import check_path, check_replay, self_check
from autotune_cli.profiling.classify import Classifier as Rules
from autotune_cli.profiling.classify import load_classifier, parse_rules
from autotune_cli.profiling.findings import Expectation, ProfileVerdict
from autotune_cli.profiling.phases import Demand, Phase, Recording, make_use, phase_of_names
from autotune_cli.profiling.readers.finding import find_trace, read_trace
from autotune_cli.profiling.verdict import PathShape, judge

CLASSIFY = load_classifier()


def phase(*names: str, name: str = "eager", demand: Demand = "strict", **values: int) -> Phase:
    return replace(phase_of_names(name, names, CLASSIFY), demand=demand, **values)


def verdict(
    shape: PathShape, *phases: Phase, expects: Sequence[str] = (), forbids: Sequence[str] = ()
) -> ProfileVerdict:
    return judge(Recording("t", phases), Expectation(shape, tuple(expects), tuple(forbids)))


def codes(result: ProfileVerdict) -> list[str]:
    return [problem.code for judged in result.phases for problem in judged.problems] + [
        problem.code for problem in result.problems
    ]


@pytest.mark.parametrize(
    ("names", "exit_code", "code"),
    [
        ([FA2_PAGED], 0, None),
        ([FA3_PAGED, SPLIT_MERGE, FILL, GEMM, TOPK], 0, None),
        ([FA2_PAGED, FA2_RAGGED], 1, "forbidden_family"),
        ([FA2_PAGED, FA3_RAGGED], 1, "forbidden_family"),
        ([FA2_PAGED, FA3_SINGLE], 1, "forbidden_family"),
        ([FA2_PAGED, CUDNN], 1, "forbidden_family"),
        ([FA2_PAGED, GEMM, TORCH_SOFTMAX, GEMM], 1, "forbidden_family"),
        ([FA2_PAGED, MERGE], 1, "forbidden_family"),
        ([FA2_PAGED, STRANGE], 1, "unknown_kernel"),
        ([FA2_RAGGED], 1, "missing_family"),
        ([SPLIT_MERGE, FILL], 3, "no_attention"),
        ([GEMM], 3, "no_attention"),
        ([], 3, "nothing_recorded"),
    ],
)
def test_paged(names: list[str], exit_code: int, code: str | None) -> None:
    result = verdict("paged", phase(*names))
    assert result.exit_code == exit_code
    assert code is None or code in codes(result)


@pytest.mark.parametrize(
    ("shape", "names", "exit_code"),
    [
        ("ragged", [FA3_RAGGED, FILL], 0),
        ("ragged", [FA3_RAGGED, SPLIT_MERGE], 0),
        ("ragged", [FA3_RAGGED, FA2_PAGED, MERGE], 1),
        ("ragged", [FA2_PAGED], 1),
        ("ragged", [FA2_RAGGED, CUDNN], 1),
        ("ragged", [FA2_RAGGED, STRANGE], 1),
        ("ragged", [FILL], 3),
        ("pair", [FA3_RAGGED, FA2_PAGED, MERGE], 0),
        ("pair", [FA2_RAGGED, FA2_PAGED, SPLIT_MERGE, MERGE] * 3, 0),
        ("pair", [FA2_RAGGED, FA2_PAGED, MERGE, MERGE], 1),
        ("pair", [FA2_RAGGED, FA2_PAGED], 1),
        ("pair", [FA2_RAGGED], 1),
        ("pair", [FA2_PAGED], 1),
        ("pair", [FA2_RAGGED, FA2_PAGED, MERGE, CUDNN], 1),
        ("pair", [], 3),
        ("ragged or pair", [FA2_RAGGED], 0),
        ("ragged or pair", [FA2_RAGGED, FA2_PAGED, MERGE], 0),
        ("ragged or pair", [FA2_PAGED], 1),
        ("ragged or pair", [CUDNN], 1),
        ("ragged or pair", [FA2_RAGGED, MERGE], 1),
    ],
)
def test_ragged(shape: PathShape, names: list[str], exit_code: int) -> None:
    assert verdict(shape, phase(*names)).exit_code == exit_code


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([FA2_PAGED, FA2_PAGED, MERGE], None),
        ([FA2_PAGED, FA2_PAGED, MERGE, SPLIT_MERGE, FILL] * 2, None),
        # A windowed layer beside it has one call.
        ([FA2_PAGED, FA2_PAGED, FA2_PAGED, MERGE], None),
        # As a chain of drafts is verified.
        ([FA2_PAGED, FA2_PAGED], "uneven_pair"),
        ([FA2_PAGED, MERGE], "uneven_pair"),
        ([MERGE], "no_attention"),
        ([FA2_PAGED, FA2_PAGED, MERGE, FA2_RAGGED], "forbidden_family"),
        ([FA2_PAGED, FA2_PAGED, MERGE, CUDNN], "forbidden_family"),
    ],
)
def test_a_tree_of_drafts_takes_two_paged_calls_and_a_merge(names: list[str], code: str | None) -> None:
    result = verdict("cascade", phase(*names))
    assert codes(result)[:1] == ([code] if code else [])
    assert result.exit_code == (0 if code is None else 3 if code == "no_attention" else 1)


def test_each_phase_is_judged_for_itself() -> None:
    eager, replay = phase(FA2_PAGED), phase(FA2_PAGED, FA2_RAGGED, name="replay")
    result = verdict("paged", eager, replay)
    assert [judged.state for judged in result.phases] == ["ok", "failed"]
    assert verdict("paged", eager, phase(name="replay")).exit_code == 3
    assert verdict("paged", eager, phase(FILL, name="replay")).exit_code == 3
    # A violation outweighs an empty phase.
    assert verdict("paged", replay, phase(name="eager")).exit_code == 1


def test_an_unknown_kernel_comes_with_the_line_that_solves_it() -> None:
    result = verdict("paged", phase(FA2_PAGED, STRANGE))
    (problem,) = result.phases[0].problems
    rules = Rules([*parse_rules(problem.paste, "x"), *CLASSIFY.rules])
    assert rules(STRANGE).family == "benign"


def test_phases_that_were_found_need_no_attention_but_all_together_do() -> None:
    step, sample = phase(FA2_PAGED, demand="lenient"), phase(FILL, name="sample", demand="lenient")
    assert verdict("paged", step, sample).exit_code == 0
    assert [judged.state for judged in verdict("paged", step, sample).phases] == ["ok", "not judged"]
    assert codes(verdict("paged", sample)) == ["no_attention"]
    assert codes(verdict("paged", phase(demand="lenient"))) == ["nothing_recorded"]
    assert codes(verdict("paged")) == ["nothing_recorded"]
    assert verdict("paged", step, phase(CUDNN, demand="lenient")).exit_code == 1


def test_a_phase_outside_the_ranges_is_shown_only() -> None:
    assert verdict("paged", phase(FA2_PAGED), phase(CUDNN, demand="ignored")).exit_code == 0
    assert verdict("paged", phase(FA2_PAGED, demand="ignored")).exit_code == 3


def test_a_capture_is_captured_and_does_not_stand_for_the_replay() -> None:
    capture = phase(FILL, name="capture", captured=4)
    result = verdict("paged", capture, phase(FA2_PAGED, name="replay"))
    assert (result.exit_code, result.phases[0].state) == (0, "captured")
    assert "captured, not executed" in result.phases[0].remark
    assert codes(verdict("paged", capture)) == ["captured_only"]
    # What runs beside the capture is judged all the same.
    assert verdict("paged", phase(CUDNN, name="capture", captured=4), phase(FA2_PAGED)).exit_code == 1


def test_graph_nodes_are_judged_as_what_they_will_run() -> None:
    nodes = phase_of_names("capture", [FA2_PAGED, SPLIT_MERGE], CLASSIFY, captured=True)
    assert verdict("paged", nodes).exit_code == 0
    bad = phase_of_names("capture", [FA2_PAGED, FA3_RAGGED], CLASSIFY, captured=True)
    assert verdict("paged", bad).exit_code == 1


def test_graph_launches_without_kernels_prove_nothing() -> None:
    assert verdict("paged", phase(FA2_PAGED, empty_graph_launches=1)).exit_code == 3
    assert verdict("paged", phase(FA2_PAGED, demand="lenient", empty_graph_launches=1)).exit_code == 3


def test_expect_and_forbid_hold_for_any_kernel() -> None:
    one, two = phase(TOPK), phase(TOPK, STRANGE, name="replay")
    assert verdict("any", one, two, expects=["FilteredTopK"]).exit_code == 0
    assert codes(verdict("any", one, two, expects=["secret"])) == ["missing_name"]
    assert codes(verdict("any", one, two, forbids=["secret"])) == ["forbidden_name"]
    assert verdict("any", one, two, forbids=["RadixTopK"]).exit_code == 0
    assert verdict("any", phase(), expects=["x"]).exit_code == 3
    assert verdict("paged", phase(FA2_PAGED), expects=["Paged"], forbids=["Ragged"]).exit_code == 0
    assert verdict("paged", phase(FA2_PAGED), expects=["CUDNN"]).exit_code == 1
    lenient = phase(TOPK, demand="lenient")
    assert verdict("any", lenient, phase(FILL, demand="lenient"), expects=["TopK"]).exit_code == 0
    assert verdict("any", lenient, expects=["Radix"]).exit_code == 1


def test_planned_must_be_what_ran() -> None:
    assert check_path("paged", "paged", "") is None
    problem = check_path("paged", "ragged", "dllm_extend")
    assert problem is not None
    assert problem.is_violation
    assert problem.text == "planned paged, executed ragged (dllm_extend)"


def test_a_replay_runs_the_nodes_of_its_graph() -> None:
    nodes = phase_of_names("capture", [FA2_PAGED, SPLIT_MERGE, FA2_PAGED], CLASSIFY).kernels
    assert check_replay(nodes, nodes) is None
    twice = phase_of_names("replay", [FA2_PAGED, SPLIT_MERGE, FA2_PAGED] * 2, CLASSIFY).kernels
    assert check_replay(nodes, twice, 2) is None
    for names in ([FA2_PAGED, SPLIT_MERGE], [FA2_PAGED, SPLIT_MERGE, FA2_PAGED, FILL], []):
        problem = check_replay(nodes, phase_of_names("replay", names, CLASSIFY).kernels)
        assert problem is not None
        assert problem.code == "replay_differs"


def test_the_recorded_trace_with_an_injected_kernel_fails_and_without_kernels_is_nothing() -> None:
    recording = split_into_phases(read_trace(find_trace(Path("example"), None)), CLASSIFY)
    assert judge(recording, Expectation("paged")).exit_code == 0
    for place in (0, 2):
        for name in (FA3_RAGGED, CUDNN, MERGE, STRANGE):
            phases = list(recording.phases)
            phases[place] = phases[place].with_injected(make_use(name, 3, 1.0, CLASSIFY))
            assert judge(Recording("t", tuple(phases)), Expectation("paged")).exit_code == 1
    empty = tuple(replace(one, kernels=()) for one in recording.phases)
    assert judge(Recording("t", empty), Expectation("paged")).exit_code == 3


@pytest.mark.parametrize(
    ("shape", "names"), [("paged", [FA2_PAGED]), ("pair", [FA2_RAGGED, FA2_PAGED, MERGE]), ("ragged", [FA2_RAGGED])]
)
def test_the_self_check_stops_what_it_injects(shape: PathShape, names: list[str]) -> None:
    recording = Recording("t", (phase(*names), phase(name="empty")))
    tried, problems = self_check(recording, Expectation(shape), lambda name: make_use(name, 1, 0.0, CLASSIFY))
    assert len(tried) == 5
    assert not problems


def test_the_self_check_finds_rules_that_let_everything_through() -> None:
    blind = Rules(parse_rules('\'\' = { family = "benign", library = "x", reason = "y" }', "x"))
    recording = Recording("t", (phase(FA2_PAGED),))
    _, problems = self_check(recording, Expectation("paged"), lambda name: make_use(name, 1, 0.0, blind))
    assert [problem.text for problem in problems] == [
        "a ragged kernel injected into eager was not stopped",
        "a dense kernel injected into eager was not stopped",
        "a quantised dense kernel injected into eager was not stopped",
        "a nameless attention kernel injected into eager was not stopped",
    ]
    assert all(problem.is_violation for problem in problems)
