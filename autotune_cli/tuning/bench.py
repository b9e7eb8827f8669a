"""A worker's bench: inputs, prepared candidates, vetting and rounds. Lives in the worker process; imports torch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import fmean
from typing import Any

import torch

from autotune_cli.kernels.family import Problem, family
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.conditions import Gpu, worst
from autotune_cli.measure.environment import device_of
from autotune_cli.measure.placement import SMALL_BYTES, Placement
from autotune_cli.measure.roofline import measure_ceilings
from autotune_cli.measure.statistics import median
from autotune_cli.measure.timers import MeasurementError, Timer
from autotune_cli.results.schema import CaseEvidence, Ceilings, Conditions, Environment, HostTime
from autotune_cli.tuning.jobs import Entry, RoundDone, RoundFailed, Vetted
from autotune_cli.worker.faults import Fault, fault_of, is_healthy
from autotune_cli.worker.launching import InputGuard, Launch, poison, prepare
from autotune_cli.worker.protocol import JUDGE_PHASE, REFERENCE_PHASE

# Host times are medians of this many calls: enough to see 20 us from 200 us, cheap beside the vetting.
_HOST_CALLS = 5

Phase = Callable[[str, str], None]


class Bench:
    """Holds the tensors of one workload at a time."""

    def __init__(self, environment: Environment, gpu: Gpu | None, timer: Timer, seed: int, phase: Phase) -> None:
        self.environment = environment
        self.device = device_of(environment)
        self.timer = timer
        self._gpu = gpu
        self._seed = seed
        self.phase = phase
        """Tells the parent what is going on, and sets its clock anew: a phase's name and its subject."""
        self._workload: AnyWorkload | None = None
        self._problems: dict[str, Problem] = {}
        self._guards: dict[str, InputGuard] = {}
        self._launches: dict[Entry, Launch] = {}
        self._loaded: set[str] = set()
        """Names of the modules that this process has; each holds for the whole run."""
        self._placement = Placement(self.device.kind, seed)
        self._doing = ("", "")
        self._is_warm = False

    def ceilings(self) -> Ceilings:
        """The device's bandwidth and matrix rates, with the timer of the race; see :func:`measure_ceilings`."""
        self.phase("ceilings", self.device.name)
        return measure_ceilings(self.device, self.timer.name, self._gpu)

    def vet(self, workload: AnyWorkload, candidate: Candidate, rough_iterations: int) -> Vetted:
        """Build, run, compare with the reference on every case, record kernels and one rough time."""
        self._open(workload)
        missing = self._make_ready(workload)
        if missing is not None:
            return missing
        build_s: float | None = None
        try:
            build_s = self._build(workload, candidate)
            self._tell("vet", candidate.key)
            launch = self._launch(Entry(candidate))
            evidence = self._check_all(workload, candidate, launch)
            begin = time.perf_counter()
            seen = self.timer.inspect(launch.run, rough_iterations)
            spent = time.perf_counter() - begin
            host = self._host_time(launch)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            self._forget(Entry(candidate))
            return Vetted(fault.status, fault.reason, build_s=build_s, healthy=self._is_healthy(fault))
        wrong = [case for case in evidence if not case.ok]
        reason = None
        if wrong:
            self._forget(Entry(candidate))
            reason = f"wrong on {', '.join(case.case for case in wrong)}: {wrong[0].message}"
        rough = median(seen.sample.us)
        return Vetted("incorrect" if wrong else "ok", reason, evidence, seen.kernels, rough, host, build_s, spent)

    def _build(self, workload: AnyWorkload, candidate: Candidate) -> float | None:
        """Seconds that building the candidate took; loading, where its modules are compiled."""
        backend = REGISTRY.get(candidate.backend)
        if backend.build is None:
            return None
        begin = time.perf_counter()
        if backend.modules is None:
            self._tell("build", candidate.key)
            backend.build(workload, **dict(candidate.knobs))
            return time.perf_counter() - begin
        self._tell("modules", candidate.key)
        for module in backend.modules(workload, **dict(candidate.knobs)):
            if module.name not in self._loaded:
                module.build()
                self._loaded.add(module.name)
        return time.perf_counter() - begin

    def round(
        self, workload: AnyWorkload, number: int, entries: tuple[Entry, ...], iterations: int, places: int
    ) -> RoundDone | RoundFailed:
        """One interleaved pass over ``entries`` at each of ``places`` in memory, all of them new in every round."""
        self._open(workload)
        missing = self._make_ready(workload)
        if missing is not None:
            return RoundFailed(None, missing.status, missing.reason or "", missing.healthy, 0.0)
        current: list[Entry | None] = [None]
        readings: list[Conditions] = []

        def started(index: int) -> None:
            entry = current[0] = entries[index % len(entries)]
            self._tell("round", entry.candidate.key)
            if self._gpu is not None:
                readings.append(self._gpu.conditions(number))

        begin = time.perf_counter()
        try:
            runs: list[Callable[[], Any]] = []
            kept: list[Any] = []
            for _ in range(self._places(workload, entries, places)):
                if runs:
                    # Alive while they are measured; the last ones stay for the check after the race.
                    kept.append((self._problems, dict(self._launches)))
                self._tell(JUDGE_PHASE, "")
                self._move(workload, entries)
                for entry in entries:
                    current[0] = entry
                    self._tell("prepare", entry.candidate.key)
                    run = self._launch(entry).run
                    # A first call may allocate and fill what later ones find; a fault belongs to who has just run.
                    run()
                    self._synchronize()
                    runs.append(run)
            turns = len(runs) // len(entries)
            samples = self.timer.measure(runs, -(-iterations // turns), started)
        except MeasurementError as error:
            entry_at_fault = None if error.launch is None else entries[error.launch % len(entries)]
            return RoundFailed(entry_at_fault, "error", str(error), True, time.perf_counter() - begin)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            if current[0] is not None:
                self._forget(current[0])
            return RoundFailed(
                current[0], fault.status, fault.reason, self._is_healthy(fault), time.perf_counter() - begin
            )
        medians = [median(sample.us) for sample in samples]
        means = tuple(fmean(medians[index :: len(entries)]) for index in range(len(entries)))
        return RoundDone(means, worst(readings, number), time.perf_counter() - begin)

    def recheck(self, workload: AnyWorkload, candidate: Candidate, calls: int) -> Vetted:
        """Check the timed case once more after as many calls: a race may have shown what one run did not."""
        self._open(workload)
        self._tell(JUDGE_PHASE, candidate.key)
        case = family(workload.operation).cases(workload)[0]
        if case in self._guards and not self._guards[case].unchanged():
            # Somebody spoilt the inputs in the race. If it was this one, it does it again.
            self._forget_problem(case)
        missing = self._make_ready(workload)
        if missing is not None:
            return missing
        self._tell("recheck", candidate.key)
        try:
            launch = self._launch(Entry(candidate))
            for _ in range(calls):
                launch.run()
            evidence = self._check(workload, case, launch)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            self._forget(Entry(candidate))
            return Vetted(fault.status, fault.reason, healthy=self._is_healthy(fault))
        return Vetted("ok" if evidence.ok else "incorrect", evidence.message or None, (evidence,))

    def _places(self, workload: AnyWorkload, entries: tuple[Entry, ...], most: int) -> int:
        """At how many places a round measures."""
        size = self._size(workload)
        # What a library keeps lies at one place at a time.
        if any(REGISTRY.get(entry.candidate.backend).forget is not None for entry in entries):
            return 1
        return most if size <= SMALL_BYTES and self._placement.has_room(most * size) else 1

    def _move(self, workload: AnyWorkload, entries: tuple[Entry, ...]) -> None:
        """The timed problem and what libraries keep to another place; candidates are prepared anew."""
        self._launches.clear()
        for name in sorted({entry.candidate.backend for entry in entries}):
            forget = REGISTRY.get(name).forget
            if forget is not None:
                forget()
        case = family(workload.operation).cases(workload)[0]
        if case in self._problems and not self._guards[case].unchanged():
            self._forget_problem(case)
        if self._placement.has_room(self._size(workload)):
            self._placement.stir()
            # A new table: the one of the place before lives on in the round.
            self._problems = {**self._problems, case: self._problem(workload, case).moved()}
            self._guards[case] = InputGuard(self._problems[case])

    def _size(self, workload: AnyWorkload) -> int:
        """Bytes of the timed case's inputs, in all page sizes that were asked for."""
        problem = self._problem(workload, family(workload.operation).cases(workload)[0])
        return sum(tensor.nbytes for tensor in problem.inputs())

    def _open(self, workload: AnyWorkload) -> None:
        if self._workload == workload:
            return
        self._launches.clear()
        self._problems.clear()
        self._guards.clear()
        self._workload = workload
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
        for case in family(workload.operation).cases(workload):
            if case in self._problems:
                continue
            self._tell(REFERENCE_PHASE, case)
            self._warm_up()
            try:
                self._problem(workload, case)
                self._synchronize()
            except Exception as error:
                self._problems.pop(case, None)
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

    def _problem(self, workload: AnyWorkload, case: str) -> Problem:
        if case not in self._problems:
            problem = family(workload.operation).make_problem(workload, case, self.device.kind, self._seed)
            # Attention's is computed when it is first asked for.
            getattr(problem, "reference", None)
            self._guards[case] = InputGuard(problem)
            self._problems[case] = problem
        return self._problems[case]

    def _launch(self, entry: Entry) -> Launch:
        """The prepared candidate, captured where the workload says graph."""
        if entry not in self._launches:
            assert self._workload is not None
            case = family(self._workload.operation).cases(self._workload)[0]
            problem = self._problem(self._workload, case)
            self._launches[entry] = prepare(
                entry.candidate, problem, captured=problem.graph, before_run=self._learner(case)
            )
        return self._launches[entry]

    def _check_all(self, workload: AnyWorkload, candidate: Candidate, launch: Launch) -> tuple[CaseEvidence, ...]:
        first, *others = family(workload.operation).cases(workload)
        evidence = [self._check(workload, first, launch)]
        for case in others:
            # Captured once, on the timed case; the others run eagerly, planned the same way.
            problem = self._problem(workload, case)
            other = prepare(candidate, problem, captured=False, before_run=self._learner(case))
            evidence.append(self._check(workload, case, other))
        return tuple(evidence)

    def _check(self, workload: AnyWorkload, case: str, launch: Launch) -> CaseEvidence:
        """Run on poisoned outputs, judge the output, and see that the inputs are what they were."""
        problem = self._problem(workload, case)
        poison(launch.run())
        output = launch.run()
        self._synchronize()
        with self._aside():
            verdict = problem.check(output)
            unchanged = self._guards[case].unchanged()
        if not unchanged:
            self._forget_problem(case)
            return CaseEvidence(case=case, ok=False, measure="inputs", message="it changes its inputs")
        finite = verdict.error == verdict.error and abs(verdict.error) != float("inf")
        return CaseEvidence(
            case=case,
            ok=verdict.ok,
            measure=verdict.measure,
            error=verdict.error if finite else None,
            limit=verdict.limit,
            message=verdict.message,
        )

    def _learner(self, case: str) -> Callable[[], None]:
        def learn() -> None:
            with self._aside():
                self._guards[case].learn()

        return learn

    def _tell(self, name: str, subject: str) -> None:
        self._doing = (name, subject)
        self.phase(name, subject)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What isn't a candidate's time: sums of large inputs and the judge of an output take seconds on a CPU."""
        # What a candidate has launched is still its own.
        self._synchronize()
        doing = self._doing
        self.phase(JUDGE_PHASE, doing[1])
        yield
        self.phase(*doing)

    def _host_time(self, launch: Launch) -> HostTime:
        def timed(call: Callable[[], Any]) -> float:
            times = []
            for _ in range(_HOST_CALLS):
                self._synchronize()
                begin = time.perf_counter_ns()
                call()
                times.append((time.perf_counter_ns() - begin) / 1e3)
            return median(times)

        if self.device.kind == "cpu":
            return HostTime()
        return HostTime(plan_us=timed(launch.plan) if launch.plan else None, launch_us=timed(launch.run))

    def _forget_problem(self, case: str) -> None:
        """Nobody else may run on spoilt inputs."""
        self._problems.pop(case)
        self._guards.pop(case)
        self._launches.clear()

    def _forget(self, entry: Entry) -> None:
        self._launches.pop(entry, None)

    def _is_healthy(self, fault: Fault) -> bool:
        return not fault.fatal and is_healthy(self.device.kind)

    def _synchronize(self) -> None:
        if self.device.kind == "cuda":
            torch.cuda.synchronize()
