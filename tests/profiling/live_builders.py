"""What a worker hands back, with small real traces: the records of a path as it would have been run on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trace_builders import FA2_DECODE, FA2_PAGED, FA2_RAGGED, FILL, MERGE, SPLIT_MERGE, ChromeTrace

from autotune_cli.kernels.models import Model, load_model
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.findings import ProfileVerdict
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.path import PathSpec, PhasePlan
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording.recorded import LiveRun, PhaseRun, Recorded
from autotune_cli.profiling.request import Injected, PathRequest

CLASSIFY = load_classifier()

PAGED = (FILL, FA2_PAGED, SPLIT_MERGE, FA2_PAGED, SPLIT_MERGE)
PAIR = (FILL, *(FA2_RAGGED, FA2_PAGED, MERGE) * 2)
RAGGED = (FILL, FA2_RAGGED, FA2_RAGGED)
DECODE = (FA2_DECODE, FA2_DECODE)
# An H200's decode step as SGLang takes it: what each shape must show.
OF_SHAPE = {"paged": PAGED, "pair": PAIR, "ragged": RAGGED}

Kernels = Mapping[str, Sequence[str]]
"""By phase. Of a capture: the graph's nodes."""


def path(mode: str = "extend", model: str | Model = "llama-3.1-8b", **values: Any) -> PathSpec:
    """``autotune profile --mode MODE``, one layer of a small batch."""
    chosen = load_model(model) if isinstance(model, str) else model
    sizes = {} if mode == "topk" else {"batch": 2}
    return plan_path(PathRequest(mode, **(sizes | values)), chosen, chosen.geometries())[0]  # type: ignore[arg-type]


def right(spec: PathSpec) -> dict[str, tuple[str, ...]]:
    """The kernels that each phase must show."""
    return {plan.name: OF_SHAPE[plan.shape] for plan in spec.phases}


def write_trace(file: Path, plans: Sequence[PhasePlan], ran: Kernels, beside: Kernels | None = None) -> Path:
    """A trace with a range for each phase: a replay's kernels by a graph launch, a capture's launches without kernels.

    Args:
        ran: a phase that is missing has no range.
        beside: launched one by one, also in a capture or a replay.
    """
    trace = ChromeTrace(deviceProperties=[{"name": "NVIDIA H200"}])
    for plan in plans:
        if plan.name not in ran:
            continue
        with trace.span(f"phase.{plan.name}"):
            with trace.span("plan"):
                trace.call("cudaStreamQuery")
            for name in (beside or {}).get(plan.name, ()):
                trace.kernel(name)
            if plan.name == "capture":
                trace.capture(len(ran[plan.name]))
            elif plan.name == "replay":
                trace.graph(*ran[plan.name])
            else:
                for name in ran[plan.name]:
                    trace.kernel(name)
    trace.call("cudaDeviceSynchronize")
    return trace.write(file)


def recorded(
    file: Path,
    spec: PathSpec,
    ran: Kernels,
    nodes: Sequence[str] | None = None,
    injected: Injected | None = None,
    beside: Kernels | None = None,
    **changed: dict[str, Any],
) -> Recorded:
    """A recording. Each phase ran its kernels, and a capture's graph holds them, or ``nodes``.

    Args:
        changed: fields of a phase's record, by phase.
    """
    runs = []
    for plan in spec.phases:
        run = PhaseRun(plan, candidates=(str(plan.wanted),), graphs=int(plan.name == "replay"))
        if plan.name == "capture":
            run = replace(run, nodes=tuple(ran.get("capture", ()) if nodes is None else nodes))
        runs.append(replace(run, **changed.get(plan.name, {})))
    return Recorded(str(write_trace(file, spec.phases, ran, beside)), tuple(runs), injected)


def live(
    folder: Path, spec: PathSpec, ran: Kernels | None = None, injected: Sequence[Recorded] = (), **more: Any
) -> LiveRun:
    """A run whose phases show what they must, unless told otherwise."""
    plain = recorded(folder / "trace.json.gz", spec, right(spec) if ran is None else ran, **more)
    return LiveRun("NVIDIA H200", plain, tuple(injected))


def judged(run: LiveRun, **names: Any) -> ProfileVerdict:
    """The verdict by the program's rules."""
    return judge_live_run(run, CLASSIFY, "llama", **names)[0]


def problems(verdict: ProfileVerdict) -> list[tuple[str, str]]:
    """Phase and code; no phase for those of no phase that can be shown."""
    own = [(phase.phase.name, problem.code) for phase in verdict.phases for problem in phase.problems]
    return own + [("", problem.code) for problem in verdict.problems]


def states(verdict: ProfileVerdict) -> dict[str, str]:
    return {phase.phase.name: phase.state for phase in verdict.phases}


def texts(verdict: ProfileVerdict) -> str:
    own = [problem.text for phase in verdict.phases for problem in phase.problems]
    return "\n".join([*own, *(problem.text for problem in verdict.problems)])
