"""A worker that runs candidates on one case at a time and judges them, without timing anything."""

from __future__ import annotations

import gc

import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.environment import device_of
from autotune_cli.results.schema import CaseEvidence, Environment
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.checking import CHANGED, Checker
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.messages import Checked
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.device import open_device
from autotune_cli.worker.faults import Fault, fault_of, is_healthy
from autotune_cli.worker.protocol import REFERENCE_PHASE, Ready, ReportPhase, WorkerSettings
from autotune_cli.worker.serving import serve


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


def _start(settings: WorkerSettings, phase: ReportPhase) -> tuple[Ready, CheckBench]:
    environment, gpu = open_device(settings, phase)
    return Ready(environment, gpu.uuid if gpu else None), CheckBench(environment, settings.seed, phase)


class CheckBench:
    """Holds the inputs of one case at a time."""

    def __init__(self, environment: Environment, seed: int, phase: ReportPhase) -> None:
        self.device = device_of(environment)
        self._phases = PhaseReporter(self.device.kind, phase)
        self._cases = Cases(self.device.kind, seed, self._phases)
        self._launches = Launches(self._cases)
        self._checker = Checker(self._cases, self._launches, self._phases)
        self._built: set[tuple[str, str]] = set()

    def check(self, workload: AnyWorkload, candidate: Candidate, case: str) -> Checked:
        """Build the candidate unless it is, run it on poisoned outputs and judge what it returns.

        Returns:
            With the status ``skipped`` where inputs or reference can't be made.
        """
        missing = self._make_ready(workload, case)
        if missing is not None:
            return missing
        try:
            self._build(workload, candidate)
            evidence = self._evidence(candidate, case)
            if evidence.measure == CHANGED:
                # It did that, or one before it that wrote where it had nothing to write: new inputs tell.
                missing = self._make_ready(workload, case)
                if missing is not None:
                    return missing
                evidence = self._evidence(candidate, case)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            return Checked(fault.status, reason=fault.reason, healthy=self._is_healthy(fault))
        return Checked("ok" if evidence.ok else "incorrect", evidence, evidence.message or None)

    def _evidence(self, candidate: Candidate, case: str) -> CaseEvidence:
        self._phases.tell("check", candidate.key)
        return self._checker.check(case, self._launches.on_case(candidate, case))

    def _make_ready(self, workload: AnyWorkload, case: str) -> Checked | None:
        """Draw the case's inputs and compute their reference, before the candidate's time begins.

        Returns:
            Why that can't be done, or None.
        """
        if not self._cases.is_open(workload):
            self._cases.open(workload)
            gc.collect()
            # What is left are modules: a collection that looks at them again takes 0.15 s.
            gc.freeze()
        if case not in self._cases.missing():
            return None
        for other in self._cases.names:
            self._cases.drop(other)
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()
        self._phases.tell(REFERENCE_PHASE, case)
        try:
            self._cases.problem(case)
            self._phases.synchronize()
        except Exception as error:
            self._cases.drop(case)
            fault = fault_of(error)
            reason = f"the reference of case {case} can't be computed: {fault.reason}"
            return Checked("skipped", reason=reason, healthy=self._is_healthy(fault))
        return None

    def _build(self, workload: AnyWorkload, candidate: Candidate) -> None:
        build = REGISTRY.get(candidate.backend).build
        key = (workload.key, candidate.key)
        if build is None or key in self._built:
            return
        self._phases.tell("build", candidate.key)
        build(workload, **dict(candidate.knobs))
        self._built.add(key)

    def _is_healthy(self, fault: Fault) -> bool:
        return not fault.fatal and is_healthy(self.device.kind)
