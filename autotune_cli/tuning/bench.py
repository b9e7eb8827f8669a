"""A worker's bench: vets candidates and runs rounds of a race. Lives in the worker process; imports torch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from autotune_cli.kernels.properties import Property
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.environment import device_of
from autotune_cli.measure.placement import Placement
from autotune_cli.measure.roofline import measure_ceilings
from autotune_cli.measure.statistics import median
from autotune_cli.measure.timers import Timer
from autotune_cli.results.schema import Ceilings, Environment, HostTime, Kernel, PropertyVerdict
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.checking import CHANGED, Checker
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.lengths import NO_REFILL, refill, weighted_mean
from autotune_cli.tuning.messages import RoundDone, RoundEntry, RoundFailed, Vetted
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.tuning.properties import PropertyChecker
from autotune_cli.tuning.rounds import Rounds
from autotune_cli.worker.faults import Fault, fault_of, is_healthy
from autotune_cli.worker.launching import Launchable
from autotune_cli.worker.protocol import JUDGE_PHASE, PROPERTIES_PHASE, REFERENCE_PHASE, ReportPhase

# Host times are medians of this many calls: enough to see 20 us from 200 us, cheap beside the vetting.
_HOST_CALLS = 3
# Timed calls of the vetting take no longer together, host work included, but there is always one.
_ROUGH_S = 0.02


class Bench:
    """Holds the tensors of one workload at a time."""

    def __init__(
        self,
        environment: Environment,
        gpu: Gpu | None,
        timer: Timer,
        seed: int,
        phase: ReportPhase,
        flashinfer_choices: str | None = None,
    ) -> None:
        self.environment = environment
        self.device = device_of(environment)
        self.timer = timer
        self._gpu = gpu
        self._phases = PhaseReporter(self.device.kind, phase)
        self._placement = Placement(self.device.kind, seed)
        self._cases = Cases(self.device.kind, seed, self._phases)
        self._launches = Launches(self._cases, flashinfer_choices)
        self._checker = Checker(self._cases, self._launches, self._phases)
        self._properties = PropertyChecker(self._cases, self._launches, self._phases)
        self._rounds = Rounds(
            self._cases, self._launches, self._checker, self._placement, timer, gpu, self._phases, self._is_healthy
        )
        self._loaded: set[str] = set()
        """Names of the modules that this process has; each holds for the whole run."""
        self._is_warm = False

    def ceilings(self) -> Ceilings:
        """The device's bandwidth and matrix rates, with the timer of the race; see :func:`measure_ceilings`."""
        self._phases.tell("ceilings", self.device.name)
        return measure_ceilings(self.device, self.timer.name, self._gpu)

    def vet(
        self,
        workload: AnyWorkload,
        candidate: Candidate,
        rough_iterations: int,
        required: Sequence[Property] = (),
    ) -> Vetted:
        """Build, run, compare with the reference on every case, record kernels and one rough time; of a candidate that
        is right, find out whether it keeps the properties that are required.
        """
        missing = self._make_ready(workload)
        if missing is not None:
            return missing
        entry = RoundEntry(candidate)
        build_s: float | None = None
        try:
            build_s = self._build(workload, candidate)
            self._phases.tell("vet", candidate.key)
            launch = self._launches.get(entry)
            if workload.length_points and launch.refill is None:
                self._launches.drop(entry)
                return Vetted("unsupported", NO_REFILL, build_s=build_s)
            evidence = self._checker.check_all(candidate, launch)
            if any(case.measure == CHANGED for case in evidence):
                # It did that, or one before it that wrote where it had nothing to write: new inputs tell.
                missing = self._make_ready(workload)
                if missing is not None:
                    return missing
                self._phases.tell("vet", candidate.key)
                launch = self._launches.get(entry)
                evidence = self._checker.check_all(candidate, launch)
            properties = self._kept(candidate, launch, required) if all(case.ok for case in evidence) else ()
            begin = time.perf_counter()
            kernels, rough, points_us = self._inspect(launch, rough_iterations)
            spent = time.perf_counter() - begin
            host = self._host_time(launch)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            self._launches.drop(entry)
            return Vetted(fault.status, fault.reason, build_s=build_s, healthy=self._is_healthy(fault))
        wrong = [case for case in evidence if not case.ok]
        reason = None
        if wrong:
            self._launches.drop(entry)
            reason = f"wrong on {', '.join(case.case for case in wrong)}: {wrong[0].message}"
        return Vetted(
            "incorrect" if wrong else "ok",
            reason,
            evidence,
            kernels,
            rough,
            host,
            build_s,
            spent,
            points_us=points_us,
            properties=properties,
            frozen=launch.frozen if workload.length_points else "",
        )

    def round(
        self,
        workload: AnyWorkload,
        number: int,
        entries: tuple[RoundEntry, ...],
        iterations: int,
        placements: int,
    ) -> RoundDone | RoundFailed:
        """A round of the workload's race, see :meth:`autotune_cli.tuning.rounds.Rounds.run`."""
        missing = self._make_ready(workload)
        if missing is not None:
            return RoundFailed(None, missing.status, missing.reason or "", missing.healthy, 0.0)
        return self._rounds.run(number, entries, iterations, placements)

    def recheck(self, workload: AnyWorkload, candidate: Candidate, calls: int) -> Vetted:
        """Check the timed case once more after as many calls: a race may have shown what one run did not."""
        self._open(workload)
        self._phases.tell(JUDGE_PHASE, candidate.key)
        case = self._cases.timed
        if not self._cases.is_unchanged(case):
            # A candidate has changed the inputs in the race. If it was this one, it does so again.
            self._checker.drop(case)
        missing = self._make_ready(workload)
        if missing is not None:
            return missing
        self._phases.tell("recheck", candidate.key)
        entry = RoundEntry(candidate)
        try:
            launch = self._launches.get(entry)
            for _ in range(calls):
                launch.run()
            evidence = self._checker.check_timed(launch)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            self._launches.drop(entry)
            return Vetted(fault.status, fault.reason, healthy=self._is_healthy(fault))
        wrong = next((case for case in evidence if not case.ok), None)
        return Vetted("incorrect" if wrong else "ok", (wrong or evidence[-1]).message or None, evidence)

    def _kept(
        self, candidate: Candidate, launch: Launchable, required: Sequence[Property]
    ) -> tuple[PropertyVerdict, ...]:
        if not required:
            return ()
        # It has the whole time limit for it, as for being vetted.
        self._phases.tell(PROPERTIES_PHASE, candidate.key)
        return self._properties.verdicts(candidate, launch, required)

    def _inspect(self, launch: Launchable, iterations: int) -> tuple[tuple[Kernel, ...], float, tuple[float, ...]]:
        """Kernels that fire, a rough time, and the times at the workload's lengths, if it has such."""
        calls = self._checker.calls_in(_ROUGH_S, iterations)
        points = self._cases.points
        if not points:
            seen = self.timer.inspect(launch.run, calls)
            return seen.kernels, median(seen.sample.us), ()
        kernels: tuple[Kernel, ...] = ()
        times = []
        for point in points:
            refill(launch, self._cases.at(point))
            seen = self.timer.inspect(launch.run, calls)
            kernels = seen.kernels
            times.append(median(seen.sample.us))
        return kernels, weighted_mean(points, times), tuple(times)

    def _open(self, workload: AnyWorkload) -> None:
        if self._cases.is_open(workload):
            return
        self._launches.clear()
        self._cases.open(workload)
        self._placement.clear()
        gc.collect()
        # What is left are modules: a collection that looks at them again takes 0.15 s.
        gc.freeze()
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()

    def _make_ready(self, workload: AnyWorkload) -> Vetted | None:
        """Draw the inputs of all cases and compute their references, before a candidate's time begins.

        Returns:
            Why that can't be done, or None.
        """
        self._open(workload)
        for case in self._cases.missing():
            self._phases.tell(REFERENCE_PHASE, case)
            self._warm_up()
            try:
                self._cases.problem(case)
                self._phases.synchronize()
            except Exception as error:
                self._cases.drop(case)
                fault = fault_of(error)
                reason = f"the reference of case {case} can't be computed: {fault.reason}"
                return Vetted(fault.status, reason, healthy=self._is_healthy(fault), unjudged=True)
        return None

    def _warm_up(self) -> None:
        """What torch's profiler imports on its first use takes seconds on a busy machine: no candidate's either."""
        if self._is_warm or self.device.kind != "cpu":
            return
        self._is_warm = True
        with suppress(Exception):
            self.timer.inspect(lambda: None, 1)

    def _build(self, workload: AnyWorkload, candidate: Candidate) -> float | None:
        """Seconds that building the candidate took; loading, where its modules are compiled."""
        backend = REGISTRY.get(candidate.backend)
        if backend.build is None:
            return None
        begin = time.perf_counter()
        if backend.modules is None:
            self._phases.tell("build", candidate.key)
            backend.build(workload, **dict(candidate.knobs))
            return time.perf_counter() - begin
        self._phases.tell("modules", candidate.key)
        for module in backend.modules(workload, **dict(candidate.knobs)):
            if module.name not in self._loaded:
                module.build()
                self._loaded.add(module.name)
        return time.perf_counter() - begin

    def _host_time(self, launch: Launchable) -> HostTime:
        def timed(call: Callable[[], Any]) -> float:
            times = []
            for _ in range(self._checker.calls_in(_ROUGH_S, _HOST_CALLS)):
                self._phases.synchronize()
                begin = time.perf_counter_ns()
                call()
                times.append((time.perf_counter_ns() - begin) / 1e3)
            return median(times)

        if self.device.kind == "cpu":
            return HostTime()
        return HostTime(plan_us=timed(launch.plan) if launch.plan else None, launch_us=timed(launch.run))

    def _is_healthy(self, fault: Fault) -> bool:
        return not fault.fatal and is_healthy(self.device.kind)
