"""A workload's candidates as they can be launched at one placement of its inputs. Lives in the worker process."""

from __future__ import annotations

from contextlib import AbstractContextManager

from autotune_cli.kernels.family import Problem
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.messages import RoundEntry
from autotune_cli.worker.flashinfer_tuner import LIBRARY, tuned_by_flashinfer
from autotune_cli.worker.launching import Launchable, prepare


class Launches:
    """Prepared candidates on the timed case, captured where the workload says graph. Each is prepared once, until it
    or all of them are dropped: a candidate holds addresses of the inputs that it was prepared on.

    Args:
        flashinfer_choices: file of what FlashInfer's own autotuner chooses; None: it tunes nothing.
    """

    def __init__(self, cases: Cases, flashinfer_choices: str | None = None) -> None:
        self._cases = cases
        self._flashinfer_choices = flashinfer_choices
        self._launches: dict[RoundEntry, Launchable] = {}

    def get(self, entry: RoundEntry) -> Launchable:
        """The candidate on the timed case, prepared unless it is there."""
        if entry not in self._launches:
            case = self._cases.timed
            problem = self._cases.problem(case)
            self._launches[entry] = prepare(
                entry.candidate,
                problem.view(),
                captured=problem.graph,
                before_run=self._cases.learner(case),
                tuner=self._tuner(entry.candidate),
            )
        return self._launches[entry]

    def anew(self, candidate: Candidate) -> Launchable:
        """The candidate on the timed case, captured where the workload says graph, prepared once more; it isn't kept,
        and what the inputs hold meanwhile is not taken for what they should hold.
        """
        problem = self._cases.problem(self._cases.timed)
        return prepare(candidate, problem.view(), captured=problem.graph)

    def _tuner(self, candidate: Candidate) -> AbstractContextManager[None] | None:
        """Its library's own, for a candidate of FlashInfer's or one that builds upon it."""
        path = self._flashinfer_choices
        if path is None or LIBRARY not in REGISTRY.get(candidate.backend).requires:
            return None
        return tuned_by_flashinfer(path)

    def on_case(self, candidate: Candidate, case: str) -> Launchable:
        """The candidate on another case. It runs eagerly, planned as the captured one is; it isn't kept."""
        return prepare(
            candidate, self._cases.problem(case).view(), captured=False, before_run=self._cases.learner(case)
        )

    def on_problem(self, candidate: Candidate, problem: Problem) -> Launchable:
        """The candidate on inputs of their own. It runs eagerly and isn't kept."""
        return prepare(candidate, problem.view(), captured=False)

    def drop(self, entry: RoundEntry) -> None:
        self._launches.pop(entry, None)

    def clear(self) -> None:
        self._launches.clear()

    def release(self) -> dict[RoundEntry, Launchable]:
        """Hand over all of them; the next ones are prepared anew."""
        launches, self._launches = self._launches, {}
        return launches
