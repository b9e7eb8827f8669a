"""Rounds of a race: interleaved, at changing placements of the inputs. Lives in the worker process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.family import Problem
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.measure.conditions import Gpu, worst
from autotune_cli.measure.placement import SMALL_BYTES, Placement
from autotune_cli.measure.statistics import median
from autotune_cli.measure.timers import MeasurementError, Timer
from autotune_cli.results.schema import Conditions
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.checking import Checker
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.lengths import refill, weighted_mean
from autotune_cli.tuning.messages import RoundDone, RoundEntry, RoundFailed
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.faults import Fault, fault_of
from autotune_cli.worker.launching import Launchable
from autotune_cli.worker.protocol import JUDGE_PHASE


class Rounds:
    """Measures rounds of the workload whose cases are open."""

    def __init__(
        self,
        cases: Cases,
        launches: Launches,
        checker: Checker,
        placement: Placement,
        timer: Timer,
        gpu: Gpu | None,
        phases: PhaseReporter,
        is_healthy: Callable[[Fault], bool],
    ) -> None:
        self._cases = cases
        self._launches = launches
        self._checker = checker
        self._placement = placement
        self._timer = timer
        self._gpu = gpu
        self._phases = phases
        self._is_healthy = is_healthy

    def run(
        self, number: int, entries: tuple[RoundEntry, ...], iterations: int, placements: int
    ) -> RoundDone | RoundFailed:
        """One interleaved pass over ``entries`` at each of ``placements``, all of them new in every round; and at each
        of the workload's lengths, for which they share the calls and what was prepared.

        Args:
            placements: 0: one, where the inputs lie, with what is prepared there.
        """
        current: list[RoundEntry | None] = [None]
        readings: list[Conditions] = []

        def started(index: int) -> None:
            entry = current[0] = entries[index % len(entries)]
            self._phases.tell("round", entry.candidate.key)
            if self._gpu is not None:
                readings.append(self._gpu.conditions(number))

        begin = time.perf_counter()
        try:
            launches: list[Launchable] = []
            problems: list[Problem] = []
            kept: list[Any] = []
            self._phases.tell(JUDGE_PHASE, "")
            self._begin(entries, anew=placements > 0)
            for _ in range(self._placements(entries, placements)):
                if launches:
                    # Alive while they are measured; the last ones stay for the check after the race.
                    kept.append((self._cases.problem(self._cases.timed), self._launches.release()))
                    self._phases.tell(JUDGE_PHASE, "")
                if placements:
                    self._move()
                problems.append(self._cases.problem(self._cases.timed))
                for entry in entries:
                    current[0] = entry
                    launches.append(self._prepared(entry))
            points = self._cases.points
            calls = -(-iterations // (len(problems) * max(1, len(points))))
            # One pass over the launches, or one at each of the workload's lengths, the shortest first.
            passes: list[tuple[float, ...]] = []
            for point in points or (None,):
                if point is not None:
                    self._refill(point, problems, entries, launches, current)
                samples = self._timer.measure([launch.run for launch in launches], calls, started)
                medians = [median(sample.us) for sample in samples]
                passes.append(tuple(fmean(medians[index :: len(entries)]) for index in range(len(entries))))
        except MeasurementError as error:
            entry_at_fault = None if error.launch is None else entries[error.launch % len(entries)]
            return RoundFailed(entry_at_fault, "error", str(error), True, time.perf_counter() - begin)
        except (Exception, SystemExit) as error:
            fault = fault_of(error)
            if current[0] is not None:
                self._launches.drop(current[0])
            return RoundFailed(
                current[0], fault.status, fault.reason, self._is_healthy(fault), time.perf_counter() - begin
            )
        conditions, spent = worst(readings, number), time.perf_counter() - begin
        if not points:
            return RoundDone(passes[0], conditions, spent)
        by_entry = tuple(zip(*passes, strict=True))
        return RoundDone(tuple(weighted_mean(points, us) for us in by_entry), conditions, spent, by_entry)

    def _placements(self, entries: tuple[RoundEntry, ...], most: int) -> int:
        """At how many placements a round measures."""
        if not most:
            return 1
        size = self._cases.size()
        # What a library keeps lies in one place at a time.
        if any(REGISTRY.get(entry.candidate.backend).forget is not None for entry in entries):
            return 1
        return most if size <= SMALL_BYTES and self._placement.has_room(most * size) else 1

    def _begin(self, entries: tuple[RoundEntry, ...], anew: bool) -> None:
        """Forget what was prepared for the round before and what libraries keep, so that it lies elsewhere in this one,
        if it is to be prepared ``anew``; inputs that a candidate has changed are drawn anew in any case.
        """
        if anew:
            self._launches.clear()
            for name in sorted({entry.candidate.backend for entry in entries}):
                forget = REGISTRY.get(name).forget
                if forget is not None:
                    forget()
        case = self._cases.timed
        if not self._cases.is_unchanged(case):
            self._checker.drop(case)

    def _move(self) -> None:
        """Put the timed problem elsewhere; candidates are prepared anew on it."""
        if self._placement.has_room(self._cases.size()):
            self._placement.perturb()
            self._cases.move()

    def _refill(
        self,
        point: LengthPoint,
        problems: Sequence[Problem],
        entries: Sequence[RoundEntry],
        launches: Sequence[Launchable],
        current: list[RoundEntry | None],
    ) -> None:
        """Have the launches, those of all entries at one placement after the other, compute the batch at these lengths.

        Args:
            current: is told whose turn it is.
        """
        for turn, problem in enumerate(problems):
            other = self._cases.at(point, problem)
            for index, entry in enumerate(entries):
                current[0] = entry
                self._phases.tell("prepare", entry.candidate.key)
                refill(launches[turn * len(entries) + index], other)
        self._phases.synchronize()

    def _prepared(self, entry: RoundEntry) -> Launchable:
        """The candidate at this placement, after its first call: that may allocate and fill what later ones find, and a
        fault of it belongs to this candidate.
        """
        self._phases.tell("prepare", entry.candidate.key)
        launch = self._launches.get(entry)
        launch.run()
        self._phases.synchronize()
        return launch
