"""Is a candidate right? It runs on the cases of its workload, and its outputs are judged. In the worker process."""

from __future__ import annotations

import time

from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.registry import Candidate
from autotune_cli.results.schema import CaseEvidence
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.lengths import refill
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.tuning.replays import Replays
from autotune_cli.worker.launching import Launchable
from autotune_cli.worker.poison import poison

CHANGED = "inputs"
"""The measure of a case whose inputs were not what they were, after the candidate ran."""


class Checker:
    """Judges candidates by the outputs of their launches."""

    def __init__(self, cases: Cases, launches: Launches, phases: PhaseReporter) -> None:
        self._cases = cases
        self._launches = launches
        self._phases = phases
        self._took_s = 0.0
        self._replays = Replays(cases, launches, phases)

    def check_all(self, candidate: Candidate, launch: Launchable) -> tuple[CaseEvidence, ...]:
        """The evidence of every case; ``launch`` is the candidate on the timed one. What is right there runs on another
        batch in the same tensors as well.
        """
        evidence = self.check_timed(launch)
        if all(case.ok for case in evidence):
            evidence += self._replays.check(candidate, launch)
        # Captured once, on the timed case.
        others = self._cases.names[1:]
        return *evidence, *(self.check(case, self._launches.on_case(candidate, case)) for case in others)

    def check_timed(self, launch: Launchable) -> tuple[CaseEvidence, ...]:
        """The evidence of the timed case as the launch was prepared or last refilled (for its own lengths), then of the
        same launch at each of the workload's other lengths, in their order.
        """
        case = self._cases.timed
        evidence = [self.check(case, launch)]
        for point in self._cases.points:
            if evidence[-1].measure == CHANGED:
                # There are no inputs any more that it was prepared on.
                break
            evidence.append(self.check(case, launch, point))
        return tuple(evidence)

    def check(self, case: str, launch: Launchable, point: LengthPoint | None = None) -> CaseEvidence:
        """Run on poisoned outputs, judge the output, and see that the inputs are what they were.

        Args:
            point: have the launch, which is the timed case's, compute the case at these lengths.
        """
        problem, name = self._cases.problem(case), case
        if point is not None:
            problem, name = self._cases.at(point), f"{case} {point.context}"
            refill(launch, problem)
        poison(launch.run())
        self._phases.synchronize()
        begin = time.perf_counter()
        output = launch.run()
        self._phases.synchronize()
        if case == self._cases.timed:
            self._took_s = time.perf_counter() - begin
        with self._phases.aside():
            verdict = problem.check(output)
            unchanged = self._cases.is_unchanged(case, launch.problem)
        if not unchanged:
            self.drop(case)
            return CaseEvidence(case=name, ok=False, measure=CHANGED, message="it changes its inputs")
        finite = verdict.error == verdict.error and abs(verdict.error) != float("inf")
        return CaseEvidence(
            case=name,
            ok=verdict.ok,
            measure=verdict.measure,
            error=verdict.error if finite else None,
            limit=verdict.limit,
            message=verdict.message,
        )

    def calls_in(self, seconds: float, most: int) -> int:
        """How many calls, one to ``most``, take no longer; by the last one that was judged on the timed case."""
        return most if most * self._took_s <= seconds else max(1, int(seconds / self._took_s))

    def drop(self, case: str) -> None:
        """Forget changed inputs, and all candidates that were prepared on them."""
        self._cases.drop(case)
        self._launches.clear()
