"""Does a candidate that is right keep what is required of it? It runs again and again, in other batches, and its
outputs are compared bit by bit. In the worker process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from autotune_cli.kernels.family import BatchProblem, TiesProblem
from autotune_cli.kernels.properties import TIE_BREAKS, Property
from autotune_cli.kernels.registry import Candidate
from autotune_cli.results.schema import PropertyVerdict
from autotune_cli.tuning.bits import Kept, kept, rows_apart, rows_of
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.faults import fault_of
from autotune_cli.worker.launching import Launchable
from autotune_cli.worker.poison import poison

# Runs of one preparation, and of a second one, on each case.
_RUNS = 5
_RUNS_ANEW = 2
# How often the only request of a batch is put into a larger one.
_REPEATED = 4


class PropertyChecker:
    """Finds out what candidates keep, on every case of a workload: ties and awkward lengths show most."""

    def __init__(self, cases: Cases, launches: Launches, phases: PhaseReporter) -> None:
        self._cases = cases
        self._launches = launches
        self._phases = phases

    def verdicts(
        self, candidate: Candidate, launch: Launchable, required: Sequence[Property]
    ) -> tuple[PropertyVerdict, ...]:
        """One a property.

        Args:
            launch: the candidate on the timed case, captured where the workload says graph.

        Raises:
            Exception: a fault after which the process can't be trusted.
        """
        return tuple(self._verdict(candidate, launch, name) for name in required)

    def _verdict(self, candidate: Candidate, launch: Launchable, name: Property) -> PropertyVerdict:
        compared = 0
        for case in self._cases.names:
            try:
                count, why = self._compare(candidate, launch, name, case)
            except Exception as error:
                fault = fault_of(error)
                if fault.fatal:
                    raise
                count, why = 0, f"can't be shown: {fault.reason}"
            compared += count
            if why:
                return PropertyVerdict(name=name, ok=False, compared=compared, message=f"{why} (on {case})")
        return PropertyVerdict(name=name, ok=True, compared=compared)

    def _compare(self, candidate: Candidate, launch: Launchable, name: Property, case: str) -> tuple[int, str]:
        """How many outputs were compared, and what speaks against the property; nothing where it is kept."""
        if name == "batch-invariant":
            return self._in_batches(candidate, case)
        on_case = launch if case == self._cases.timed else self._launches.on_case(candidate, case)
        if name == "deterministic":
            return self._again(candidate, on_case, case)
        problem = cast(TiesProblem, self._cases.problem(case))
        verdict = problem.check_ties(on_case.run(), TIE_BREAKS[name])
        return 1, verdict.message

    def _again(self, candidate: Candidate, launch: Launchable, case: str) -> tuple[int, str]:
        """Against a first output those of further runs, and of a second preparation, which is never captured."""
        first = self._output(launch)
        apart = [rows_apart(first, self._output(launch)) for _ in range(_RUNS)]
        anew = self._launches.on_case(candidate, case)
        apart += [rows_apart(first, self._output(anew)) for _ in range(_RUNS_ANEW)]
        runs = sum(map(bool, apart))
        rows = _rows(max(apart), rows_of(first))
        return len(apart), f"{runs} of {len(apart)} runs differed in {rows}" if runs else ""

    def _in_batches(self, candidate: Candidate, case: str) -> tuple[int, str]:
        """Against the output of the case those of the same requests in other batches."""
        problem = cast(BatchProblem, self._cases.problem(case))
        whole = self._launches.on_case(candidate, case)
        together = self._output(whole)
        unstable = rows_apart(together, self._output(whole))
        if unstable:
            return 0, f"two runs of the same batch differed in {_rows(unstable, rows_of(together))}"
        batches = _batches(problem.batch)
        for requests in batches:
            expected = kept(together, problem.rows_of(requests))
            alone = self._output(self._launches.on_problem(candidate, problem.of_requests(requests)))
            apart = rows_apart(expected, alone)
            if apart:
                rows = _rows(apart, rows_of(expected))
                return len(batches), f"{_named(requests, problem.batch)} differed in {rows}"
        return len(batches), ""

    def _output(self, launch: Launchable) -> Kept:
        """Of a run; what a run before it left in the same tensors is spoilt afterwards."""
        output = launch.run()
        self._phases.synchronize()
        copies = kept(output)
        poison(output)
        return copies


def _batches(whole: int) -> list[list[int]]:
    """Other batches of the same requests: single ones, half of all; of one request, several of it."""
    if whole == 1:
        return [[0] * _REPEATED]
    half = list(range((whole + 1) // 2))
    singles = [[number] for number in dict.fromkeys((0, whole // 2, whole - 1))]
    return singles if len(half) == 1 else [*singles, half]


def _named(requests: Sequence[int], whole: int) -> str:
    if len(set(requests)) > 1:
        return f"a batch of {len(requests)} and the same requests in one of {whole}"
    return f"request {requests[0]} alone and in a batch of {max(whole, len(requests))}"


def _rows(number: int, whole: int) -> str:
    return f"{number} of {whole} rows"
