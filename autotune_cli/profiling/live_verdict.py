"""From what a worker recorded to the verdict: phases from the trace, nodes of the graph, checks. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.checks import check_path, check_replay
from autotune_cli.profiling.classify import Classifier
from autotune_cli.profiling.emptied import check_emptied
from autotune_cli.profiling.findings import Expectation, Finding, ProfileVerdict
from autotune_cli.profiling.phases import KernelUse, Phase, Recording, phase_of_names
from autotune_cli.profiling.readers.finding import read_trace
from autotune_cli.profiling.recording.recorded import LiveRun, PhaseRun, Recorded
from autotune_cli.profiling.verdict import families_of, judge, judge_phase


@dataclass(frozen=True)
class _Seen:
    recording: Recording
    found: dict[str, list[Finding]]
    """Problems by phase."""
    overall: list[Finding]
    """Those of phases that left nothing to show."""


def judge_live_run(
    run: LiveRun, classify: Classifier, title: str, expects: Sequence[str] = (), forbids: Sequence[str] = ()
) -> tuple[ProfileVerdict, list[str]]:
    """The verdict on a path that was run, and what the self-check tried.

    Args:
        title: of the path, for people.
        expects, forbids: regular expressions on kernel names.
    """
    shapes = tuple((done.plan.name, done.plan.shape) for done in run.recording.phases)
    expectation = Expectation(shapes[0][1], tuple(expects), tuple(forbids), shapes)
    seen = _see(run.recording, classify, expectation, title, run.device)
    verdict = judge(seen.recording, expectation, seen.found)
    tried: list[str] = []
    problems = [*seen.overall, *verdict.problems]
    checked = [_check_injected(other, seen.recording, classify, expectation) for other in run.injected]
    if checked:
        checked.append(check_emptied(seen.recording, expectation))
    for lines, faults in checked:
        tried += lines
        problems += faults
    return ProfileVerdict(seen.recording, expectation, verdict.phases, tuple(problems)), tried


def _see(
    recorded: Recorded, classify: Classifier, expectation: Expectation, title: str = "", device: str = ""
) -> _Seen:
    trace = split_into_phases(read_trace(Path(recorded.trace)), classify)
    # Others were found by the way of launching: the trace lacks the ranges.
    traced = {phase.name: phase for phase in trace.phases if phase.demand == "strict"}
    phases: list[Phase] = []
    found: dict[str, list[Finding]] = {}
    overall: list[Finding] = []
    nodes: tuple[KernelUse, ...] | None = None
    for run in recorded.phases:
        phase = None if run.error else traced.get(run.plan.name)
        problems = _problems(run, phase is not None)
        if phase is None:
            overall += problems
            continue
        if run.nodes is not None:
            captured = phase_of_names(run.plan.name, run.nodes, classify, captured=True)
            nodes = captured.kernels
            shape = expectation.of(run.plan.name)
            if nodes and not captured.launches(*families_of(shape)):
                word = "top-k" if shape == "topk" else "attention"
                detail = f"no {word} kernel among the {captured.captured} kernel nodes of the graph"
                problems.append(Finding("no_attention", detail))
            phase = replace(phase, kernels=(*captured.kernels, *phase.kernels), captured=captured.captured)
        if run.plan.name == "replay" and nodes is not None:
            differs = check_replay(nodes, phase.from_graphs, run.graphs)
            problems += [differs] if differs else []
        phases.append(replace(phase, facts=(*_facts(run), *_same_nodes(run, nodes, problems))))
        found[run.plan.name] = problems
    recording = Recording(title, tuple(phases), tuple(trace.devices) or (device,), trace.notes)
    return _Seen(recording, found, overall)


def _problems(run: PhaseRun, is_shown: bool) -> list[Finding]:
    """What is wrong with a phase before its kernels are looked at.

    Args:
        is_shown: beside its name. If not, each text begins with it.
    """
    plan = run.plan
    path = check_path(plan.planned, plan.executed, plan.reason)
    problems = [path] if path is not None else []
    problems += [Finding(check.code, check.text) for check in run.checks if not check.ok]
    # A path that can't be run since its plan is another one has said so already.
    if run.error and not problems:
        problems.append(Finding("phase_failed", run.error))
    if not run.error and not is_shown:
        problems.append(Finding("nothing_recorded", "its range is not in the recording"))
    return problems if is_shown else [replace(one, text=f"{plan.name}: {one.text}") for one in problems]


def _facts(run: PhaseRun) -> list[str]:
    plan = run.plan
    facts = [f"planned and executed {plan.planned} ({plan.reason})"] if plan.planned and plan.is_consistent else []
    facts += [", ".join(dict.fromkeys(run.candidates))] if run.candidates else []
    return facts + [check.text for check in run.checks if check.ok]


def _same_nodes(run: PhaseRun, nodes: tuple[KernelUse, ...] | None, problems: Sequence[Finding]) -> list[str]:
    if run.plan.name != "replay" or nodes is None or any(problem.code == "replay_differs" for problem in problems):
        return []
    return ["the replay ran the kernel nodes of its graph, no more and no fewer"]


def _check_injected(
    other: Recorded, plain: Recording, classify: Classifier, expectation: Expectation
) -> tuple[list[str], list[Finding]]:
    """Was the kernel that was run on purpose stopped in each phase?"""
    family = other.injected
    assert family is not None
    tried: list[str] = []
    problems: list[Finding] = []
    errors: dict[str, str] = {run.plan.name: run.error for run in other.phases if run.error}
    after = {phase.name: phase for phase in _see(other, classify, expectation).recording.phases}
    for name, before in ((phase.name, judge_phase(phase, expectation)) for phase in plain.phases):
        what = f"a {family} kernel run in {name}"
        phase = after.get(name)
        if phase is None:
            # Not run means not stopped.
            problems.append(Finding("self_check", f"{what}: {errors.get(name, 'its range is not in the recording')}"))
            continue
        more = phase.launches(family) > before.phase.launches(family)
        new = set(judge_phase(phase, expectation).problems) - set(before.problems)
        shape = expectation.of(name)
        if more and any(problem.is_violation for problem in new):
            tried.append(f"{what}: stopped")
        elif shape == "any":
            tried.append(f"{what}: allowed, as only names are judged")
        elif more and family == "ragged" and shape == "ragged":
            tried.append(f"{what}: allowed, as it must be")
        else:
            why = "was not stopped" if more else "does not show in the recording"
            problems.append(Finding("self_check", f"{what} {why}"))
    return tried, problems
