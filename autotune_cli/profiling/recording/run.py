"""Runs a path in a worker: warms it up, records its phases under ranges, compares what came out. Imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autotune_cli.kernels.family import family
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, prepared
from autotune_cli.kernels.steps import StepLayer
from autotune_cli.profiling.path import PathSpec, PhasePlan
from autotune_cli.profiling.ranges import PHASE_PREFIX, PLAN
from autotune_cli.profiling.recording.batches import for_graphs
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.recording.compare import Outputs, compare_phases, padding_checks
from autotune_cli.profiling.recording.graph_nodes import NodesUnavailable, kernel_nodes
from autotune_cli.profiling.recording.inject import injected
from autotune_cli.profiling.recording.recorded import Check, LiveRun, PhaseRun, Recorded
from autotune_cli.profiling.recording.session import Session, named
from autotune_cli.profiling.recording.step import (
    LayerCall,
    NoCandidate,
    Pieces,
    PlanWaits,
    Step,
    choose,
    split_policy,
)
from autotune_cli.profiling.request import Injected
from autotune_cli.worker.launching import capture, warm_up

OnPhase = Callable[[str, str], None]
"""Told what is going on: a phase's name and its subject."""


def record_path(spec: PathSpec, folder: str, device: Device, report: OnPhase) -> LiveRun:
    """Record the path, and once more with each injected kernel.

    Args:
        folder: where the traces go.
    """
    problems = [problem_of(layer, spec.seed) for layer in spec.layers]
    recording = Recorder(spec, problems, device, report).record(Path(folder) / "trace.json.gz")
    others = tuple(
        Recorder(spec, problems, device, report, family).record(Path(folder) / f"injected-{family}.json.gz")
        for family in spec.injected
    )
    return LiveRun(device.name, recording, others)


def problem_of(layer: StepLayer, seed: int) -> Any:
    """The inputs of a kind of layer."""
    return family(layer.workload.operation).step_problem(layer, "cuda", seed)


class Recorder:
    """One recording of all phases."""

    def __init__(
        self, spec: PathSpec, problems: list[Any], device: Device, report: OnPhase, family: Injected | None = None
    ) -> None:
        self.spec, self.problems, self.device, self.report, self.injected = spec, problems, device, report, family
        self.extra: Callable[[], Any] | None = None
        if family:
            # Decoding and top-k have not built the ragged kernel: it may take minutes.
            report("build", f"a {family} kernel to inject")
            self.extra = injected(family, problems[0])
        self.runs: dict[str, PhaseRun] = {}
        self.steps: dict[str, Step] = {}
        self.outputs: dict[str, Outputs] = {}
        self.graph: torch.cuda.CUDAGraph | None = None
        self.captured: list[Any] = []

    def record(self, trace: Path) -> Recorded:
        """Prepare all phases, run them once under a profiler, compare what they put out."""
        self.prepare()
        session = Session()
        session.prepare(self.rehearse)
        with session:
            for plan in self.spec.phases:
                if not self.runs[plan.name].error:
                    self._attempt(plan, "run", self._run)
        session.export(str(trace))
        if not self.injected:
            self.report("compare", "outputs")
            self._compare()
        return Recorded(str(trace), tuple(self.runs.values()), self.injected)

    def prepare(self) -> None:
        """Everything that compiles, allocates or runs for the first time: outside of the recording."""
        for plan in self.spec.phases:
            self.runs[plan.name] = PhaseRun(plan)
            self._attempt(plan, "prepare", self._prepare)
        torch.cuda.synchronize()

    def rehearse(self) -> None:
        """Every prepared step once, eagerly and under ranges: a session's first step takes longer than later ones."""
        for plan in self.spec.phases:
            is_another = plan.name in self.steps and not (plan.name == "replay" and "capture" in self.steps)
            if is_another and not self.runs[plan.name].error:
                self._attempt(plan, "rehearse", self._rehearse)

    def launch(self, plan: PhasePlan) -> list[Any]:
        """Plan and run a prepared phase's step once, under its ranges; what it puts out, a capture's after its replay.

        The caller waits for the device.
        """
        step = self.steps[plan.name]
        with named(f"{PHASE_PREFIX}{plan.name}"):
            with named(PLAN):
                step.plan()
            if plan.name == "capture":
                self._capture(step)
            elif plan.name == "replay":
                assert self.graph is not None
                self.graph.replay()
            else:
                return step.run()
        return self.captured

    def _attempt(self, plan: PhasePlan, what: str, action: Callable[[PhasePlan], None]) -> None:
        """A phase that can't be run is no reason not to run the others."""
        self.report(what, f"{plan.name}: {plan.wanted}")
        try:
            action(plan)
        except NoCandidate as error:
            self._note(plan, error=str(error))
        except PlanWaits as error:
            waits = Check(plan.name, "plan_waits", False, str(error))
            self._note(plan, error=str(error), checks=(*self.runs[plan.name].checks, waits))
        except Exception as error:
            text = str(error).strip().splitlines()
            self._note(plan, error=f"{type(error).__name__}: {text[0] if text else ''}"[:300])

    def _note(self, plan: PhasePlan, **changed: Any) -> None:
        self.runs[plan.name] = dataclasses.replace(self.runs[plan.name], **changed)

    # Preparing.

    def _prepare(self, plan: PhasePlan) -> None:
        if not plan.is_consistent:
            raise NoCandidate("not run: what is planned is not what would run")
        if plan.name == "replay" and "capture" in self.steps:
            # The graph of the capture is what is replayed.
            self.steps["replay"] = self.steps["capture"]
            self._note(plan, candidates=self.runs["capture"].candidates)
            return
        # What can't be captured safely is refused for graphs.
        mode = "graph" if plan.name in ("capture", "replay") else "eager"
        workloads = [layer.workload.model_copy(update={"mode": mode}) for layer in self.spec.layers]
        pairs = zip(workloads, self.problems, strict=True)
        chosen = [(choose(plan.wanted_of(workload), workload, self.device), problem) for workload, problem in pairs]
        self._note(plan, candidates=tuple(candidate.key for candidate, _ in chosen))
        for (candidate, _), workload in zip(chosen, workloads, strict=True):
            build = REGISTRY.get(candidate.backend).build
            if build is not None:
                self.report("build", candidate.key)
                build(workload, **dict(candidate.knobs))
        self.report("prepare", plan.name)
        kinds = [self._call(plan, candidate, problem) for candidate, problem in chosen]
        step = Step(kinds, self.spec.calls, self.extra)
        self._warm(step)
        self.steps[plan.name] = step
        if plan.name == "replay":
            # Without a capture phase of its own the graph is captured before the recording.
            self._capture(step)

    def _call(self, plan: PhasePlan, candidate: Candidate, problem: Any) -> LayerCall:
        if plan.in_pieces:
            pieces = Pieces(problem, candidate, plan.static_tokens, plan.pad_mode, self.spec.page_size)
            first = plan.writes == "before"
            forbid = not pieces.is_masked
            return LayerCall(
                pieces, pieces.run, pieces.plan, pieces.write, first, forbid_waiting=forbid, ready=pieces.ready
            )
        if plan.name != "eager":
            problem = for_graphs(problem)
        ready = prepared(candidate, problem)
        write = CacheWrite(problem, self.spec.page_size) if plan.writes != "never" else None
        return LayerCall(problem, ready.run, ready.plan, write, plan.writes == "before", ready=ready)

    @staticmethod
    def _warm(step: Step) -> None:
        def once() -> None:
            step.plan(guarded=False)
            step.run()

        warm_up(once)

    def _rehearse(self, plan: PhasePlan) -> None:
        step = self.steps[plan.name]
        with named("rehearsal"), named("rehearsal"):
            step.plan(guarded=False)
            step.run()
        torch.cuda.synchronize()

    # Running, inside the recording.

    def _run(self, plan: PhasePlan) -> None:
        step = self.steps[plan.name]
        step.forget()
        torch.cuda.synchronize()
        if plan.name == "replay" and self.graph is None:
            raise RuntimeError("there is no graph to replay: the capture failed")
        outputs = self.launch(plan)
        torch.cuda.synchronize()
        if plan.name == "capture":
            self._list_nodes(plan)
            return
        self._note(plan, graphs=1 if plan.name == "replay" else 0)
        self.outputs[plan.name] = Outputs.of(outputs)

    def _capture(self, step: Step) -> None:
        graph, self.captured = capture(step.run, keep_graph=True)
        graph.instantiate()
        # Not one whose capture failed.
        self.graph = graph

    def _list_nodes(self, plan: PhasePlan) -> None:
        assert self.graph is not None
        try:
            self._note(plan, nodes=kernel_nodes(self.graph.raw_cuda_graph()))
        except NodesUnavailable as error:
            self._note(plan, checks=(Check(plan.name, "graph_nodes_unavailable", False, str(error)),))

    # Afterwards.

    def _compare(self) -> None:
        policies = {
            name: [split_policy(call.ready) if call.ready else "" for call in step.kinds]
            for name, step in self.steps.items()
        }
        found = compare_phases(self.spec, self.problems, self.outputs, self.runs, policies, self.device)
        for name, step in self.steps.items():
            if self.runs[name].plan.in_pieces and not self.runs[name].error:
                found += padding_checks(self.runs[name].plan, [call.problem for call in step.kinds])
        for check in found:
            run = self.runs[check.phase]
            self.runs[check.phase] = dataclasses.replace(run, checks=(*run.checks, check))
