"""The inputs that a workload's candidates are judged and timed on. Lives in the worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.family import LengthsProblem, Problem, ReplayedProblem, family
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.worker.input_guard import InputGuard


class Cases:
    """The cases of one workload at a time: each one's problem with its reference, and a guard of its inputs."""

    def __init__(self, device_kind: str, seed: int, phases: PhaseReporter) -> None:
        self._device_kind = device_kind
        self._seed = seed
        self._phases = phases
        self._workload: AnyWorkload | None = None
        self._problems: dict[str, Problem] = {}
        self._guards: dict[str, InputGuard] = {}
        self._other: Problem | None = None

    @property
    def workload(self) -> AnyWorkload:
        """The one whose cases are held.

        Raises:
            AssertionError: none was opened.
        """
        assert self._workload is not None
        return self._workload

    @property
    def names(self) -> tuple[str, ...]:
        return family(self.workload.operation).cases(self.workload)

    @property
    def timed(self) -> str:
        """The case on which candidates are timed."""
        return self.names[0]

    @property
    def points(self) -> tuple[LengthPoint, ...]:
        """Lengths at which candidates are judged and timed, beside those of the timed case itself; the last one is as
        long.
        """
        return self.workload.length_points

    def at(self, point: LengthPoint, problem: Problem | None = None) -> Problem:
        """The timed case, or the same inputs elsewhere, at other lengths."""
        return cast(LengthsProblem, problem or self.problem(self.timed)).at(point)

    def is_open(self, workload: AnyWorkload) -> bool:
        return self._workload == workload

    def open(self, workload: AnyWorkload) -> None:
        """Drop the cases of another workload; those of this one are made when they are asked for."""
        self._problems.clear()
        self._guards.clear()
        self._other = None
        self._workload = workload

    def missing(self) -> list[str]:
        """Cases whose inputs and reference aren't there."""
        return [name for name in self.names if name not in self._problems]

    def problem(self, case: str) -> Problem:
        """The case's problem, made unless it is there; its reference is computed."""
        if case not in self._problems:
            problem = family(self.workload.operation).make_problem(self.workload, case, self._device_kind, self._seed)
            # Attention's is computed when it is first asked for.
            getattr(problem, "reference", None)
            for point in self.points if case == self.timed else ():
                getattr(self.at(point, problem), "reference", None)
            if case == self.timed and hasattr(problem, "other_batch"):
                self._other = cast(ReplayedProblem, problem).other_batch(same_lengths=not problem.graph)
            self._guards[case] = InputGuard(problem)
            self._problems[case] = problem
        return self._problems[case]

    @property
    def other(self) -> Problem | None:
        """Another batch of the timed case's shape, for what was captured to be replayed on, or launched on again; made
        with that case, of its lengths unless something is captured. None: the family refills no inputs in place.
        """
        return self._other

    def size(self) -> int:
        """Bytes of the timed case's inputs, in all page sizes that were asked for."""
        return sum(tensor.nbytes for tensor in self.problem(self.timed).inputs().values())

    def move(self) -> None:
        """Put the timed case's inputs into new tensors; the reference stays."""
        case = self.timed
        self._problems[case] = self.problem(case).moved()
        self._guards[case].follow(self._problems[case])

    def is_unchanged(self, case: str, view: Problem | None = None) -> bool:
        """Are the case's inputs, or those of one candidate's view, what they were when they were made? True for a case
        that isn't there.
        """
        return case not in self._guards or self._guards[case].unchanged(view)

    def drop(self, case: str) -> None:
        """Forget a case, whose inputs a candidate has changed or whose reference could not be computed."""
        self._problems.pop(case, None)
        self._guards.pop(case, None)

    def learner(self, case: str) -> Callable[[], None]:
        """Called between a candidate's preparation and its first run: page layouts are made when first asked for."""

        def learn() -> None:
            if not self._guards[case].is_complete:
                with self._phases.aside():
                    self._guards[case].learn()

        return learn
