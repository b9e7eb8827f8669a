"""Is a candidate right on other batches than the one that it was prepared or captured on? In the worker process.

A server captures a kernel once, at some lengths, and refills the kernel's inputs in place before each replay. What a
candidate or its library decided on the host while it was captured then holds for lengths that it never saw. What is not
captured may know the lengths, yet no more: what it made of the inputs before it was launched would be left out of its
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autotune_cli.kernels.family import Problem
from autotune_cli.kernels.registry import Candidate
from autotune_cli.results.schema import CaseEvidence
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.launching import Launchable
from autotune_cli.worker.poison import poison

REPLAY = "replay"
"""The case in which what was captured on the timed batch is replayed on another one."""
CAPTURE = "capture"
"""The case in which what was captured on another batch is replayed on the timed one."""
REFILLED = "refilled"
"""The case in which what was prepared on the timed batch is launched on another one of its lengths."""
_SAYS = {
    REPLAY: "not graph safe: replayed on another batch of its shape, ",
    CAPTURE: "not graph safe: replayed on another batch of its shape, ",
    REFILLED: "it reads inputs before it is launched: with others in the same tensors, ",
}


class Replays:
    """Judges replays, both ways: each batch is longer than the other in some of its rows. What isn't captured is
    launched once more.
    """

    def __init__(self, cases: Cases, launches: Launches, phases: PhaseReporter) -> None:
        self._cases = cases
        self._launches = launches
        self._phases = phases

    def check(self, candidate: Candidate, launch: Launchable) -> tuple[CaseEvidence, ...]:
        """The evidence of both cases, or of the one; none where the problem knows of no other batch.

        Args:
            launch: the candidate on the timed case, captured where the workload says graph.
        """
        own, other = self._cases.problem(self._cases.timed), self._cases.other
        if other is None:
            return ()
        if not own.graph:
            with _holding(own, other):
                refilled = self._judged(REFILLED, launch, other)
            if launch.plan is not None:
                launch.plan()
            return (refilled,)
        with _holding(own, other):
            replayed = self._judged(REPLAY, launch, other)
            elsewhere = self._launches.anew(candidate)
        if launch.plan is not None:
            launch.plan()
        return replayed, self._judged(CAPTURE, elsewhere, own)

    def _judged(self, case: str, launch: Launchable, problem: Problem) -> CaseEvidence:
        if launch.plan is not None:
            # What is planned for a batch is planned again for the next one, as before a server's replay.
            launch.plan()
        poison(launch.run())
        output: Any = launch.run()
        self._phases.synchronize()
        with self._phases.aside():
            verdict = problem.check(output)
        message = "" if verdict.ok else f"{_SAYS[case]}{verdict.message}"
        return CaseEvidence(
            case=case, ok=verdict.ok, measure=verdict.measure, error=verdict.error, limit=verdict.limit, message=message
        )


@contextmanager
def _holding(problem: Problem, other: Problem) -> Iterator[None]:
    """The problem's tensors hold what the other's do, and afterwards what they held."""
    own, contents = problem.inputs(), other.inputs()
    before = {name: tensor.clone() for name, tensor in own.items()}
    for name, tensor in own.items():
        tensor.copy_(contents[name])
    try:
        yield
    finally:
        for name, tensor in own.items():
            tensor.copy_(before[name])
