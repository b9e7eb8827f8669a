"""Every candidate of an operation against every kind of input: right or wrong, and by how much. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from autotune_cli.errors import BadKernels, EmptySuite, LostWorker
from autotune_cli.kernels.registry import Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import Status
from autotune_cli.tuning.cells import Cell
from autotune_cli.tuning.check_process import Check, PlanChecks
from autotune_cli.tuning.messages import Checked, CheckPlan
from autotune_cli.worker.failures import WorkerDied, WorkerKilled, WorkerRaised, WorkerTimeout
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import REFERENCE_PHASE

_PLAN_TIMEOUT_S = 120.0
# A candidate that ends its process, or hangs, so often is asked no more: each time costs a worker's start or the limit.
_MOST_CRASHES = 3
_MOST_TIMEOUTS = 1


def check_matrix(
    worker: Worker,
    workloads: Iterable[AnyWorkload],
    timeout_s: float,
    backends: Sequence[str] = (),
    kernel_files: Sequence[str] = (),
    on_workload: Callable[[AnyWorkload], None] = lambda workload: None,
) -> list[Cell]:
    """One cell for each candidate and case of each workload, in order; one for a candidate that can't run here.

    Args:
        worker: a :class:`~autotune_cli.tuning.check_process.CheckProcess`; its process is replaced where a candidate
            has ended or spoilt it.
        timeout_s: for a candidate on one case; builds and references count apart.
        backends: names of backends or libraries; empty: all.
        kernel_files: the users' files that the worker has loaded.
        on_workload: told of each workload when its turn comes.

    Raises:
        EmptySuite: a backend that was asked for has nothing for these workloads.
        BadKernels: a user's file raises, hangs or ends the process when it is asked for its candidates.
        LostWorker: the worker ends or hangs where no candidate can be blamed.
    """
    plans = _plans(worker, tuple(workloads), kernel_files)
    found = {entry.candidate.backend for plan in plans for entry in plan.candidates}
    for name in backends:
        if name not in found | {each.partition(".")[0] for each in found}:
            having = ", ".join(sorted(found))
            raise EmptySuite(
                detail=f"backend {name!r} has no candidate for these operations; those that have: {having}"
            )
    lost = _Losses()
    cells: list[Cell] = []
    for plan in plans:
        on_workload(plan.workload)
        cells += _of_workload(worker, plan, timeout_s, backends, lost)
    return cells


class _Losses:
    """How often each backend's candidates have cost a process."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()
        self._timeouts: Counter[str] = Counter()

    def add(self, candidate: Candidate, status: Status) -> None:
        (self._timeouts if status == "timeout" else self._crashes)[candidate.key] += 1

    def why_not(self, candidate: Candidate) -> str | None:
        """Why a candidate gets no further turn, or None."""
        if self._timeouts[candidate.key] >= _MOST_TIMEOUTS:
            return "not tried: it hung before"
        if self._crashes[candidate.key] >= _MOST_CRASHES:
            return f"not tried: it crashed {_MOST_CRASHES} times before"
        return None


def _plans(worker: Worker, workloads: tuple[AnyWorkload, ...], kernel_files: Sequence[str]) -> list[CheckPlan]:
    try:
        plans: list[CheckPlan] = worker.ask(PlanChecks(workloads), _PLAN_TIMEOUT_S)
    except (WorkerDied, WorkerTimeout, WorkerRaised) as error:
        if kernel_files and not isinstance(error, WorkerKilled):
            detail = f"asked for its candidates: {str(error).splitlines()[0]}"
            raise BadKernels(path=", ".join(kernel_files), detail=detail) from error
        if isinstance(error, WorkerRaised):
            raise
        raise LostWorker(what="asked for the candidates", detail=str(error)) from error
    return plans


def _of_workload(
    worker: Worker, plan: CheckPlan, timeout_s: float, backends: Sequence[str], lost: _Losses
) -> Iterator[Cell]:
    """Case by case, so that a case's inputs are made once."""
    wanted = [
        entry
        for entry in plan.candidates
        if not backends or {entry.candidate.backend, entry.candidate.backend.partition(".")[0]} & set(backends)
    ]
    for entry in wanted:
        if entry.status is not None:
            yield Cell(plan.workload, "", entry.candidate, Checked(entry.status, reason=entry.reason), entry.fix)
    ready = [entry.candidate for entry in wanted if entry.status is None]
    for case in plan.cases:
        for candidate in ready:
            why_not = lost.why_not(candidate)
            if why_not is not None:
                yield Cell(plan.workload, case, candidate, Checked("skipped", reason=why_not))
                continue
            checked = _ask(worker, Check(plan.workload, candidate, case), timeout_s)
            if checked.status in ("timeout", "crashed"):
                lost.add(candidate, checked.status)
            yield Cell(plan.workload, case, candidate, checked)


def _ask(worker: Worker, job: Check, timeout_s: float) -> Checked:
    try:
        checked: Checked = worker.ask(job, timeout_s)
    except (WorkerTimeout, WorkerDied) as error:
        name, case = worker.phase
        if name == REFERENCE_PHASE:
            return Checked("skipped", reason=f"the reference of case {case} can't be computed: {error}")
        return Checked("timeout" if isinstance(error, WorkerTimeout) else "crashed", reason=str(error))
    if not checked.healthy:
        worker.kill()
    return checked
