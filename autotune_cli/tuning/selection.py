"""The candidates of a run: what the worker plans, narrowed to what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotune_cli.errors import BadKernels, EmptySuite, LostWorker
from autotune_cli.fields import Field, Message
from autotune_cli.results.records import JournalState
from autotune_cli.tuning.jobs import ListToBuild, Plan
from autotune_cli.tuning.measurer import Measurer
from autotune_cli.tuning.messages import Planned, PlannedWorkload, ToBuild
from autotune_cli.tuning.request import Request
from autotune_cli.worker.failures import OutOfTime, WorkerDied, WorkerKilled, WorkerRaised, WorkerTimeout

# Planning imports kernel files only; a user's file may take its time. So may a library's import, for its modules.
_PLAN_TIMEOUT_S = 120.0


def planned_workloads(request: Request, worker: Measurer, end: float = float("inf")) -> list[PlannedWorkload]:
    """Every workload with its candidates; planned in a worker, as a user's file takes part.

    Args:
        end: of the budget, by ``time.monotonic()``.

    Raises:
        OutOfTime: at ``end``.
        LostWorker: the worker ends or hangs without a user's file.
        BadKernels: the user's file raises, hangs or ends the process when it is asked for its candidates.
        EmptySuite: a backend that was asked for has nothing for these operations.
    """
    files = request.worker.kernel_files
    try:
        planned = _joined(
            worker.ask(Plan(request.workloads, request.baselines, request.model_type), _PLAN_TIMEOUT_S, end=end)
        )
    except OutOfTime:
        raise
    except WorkerKilled as error:
        # Not the fault of a file, most likely.
        raise LostWorker(what="asked for the candidates", detail=str(error)) from error
    except (WorkerDied, WorkerTimeout, WorkerRaised) as error:
        if not files:
            if isinstance(error, WorkerRaised):
                raise
            raise LostWorker(what="asked for the candidates", detail=str(error)) from error
        # The knobs, unsupported and default functions of a user's file run here.
        detail = f"asked for its candidates: {str(error).splitlines()[0]}"
        raise BadKernels(path=", ".join(files), detail=detail) from error
    found = {entry.candidate.backend for plan in planned for entry in plan.candidates}
    libraries = {name.split(".")[0] for name in found}
    for name in request.backends:
        if name not in found | libraries:
            having = ", ".join(sorted(found))
            raise EmptySuite(
                detail=f"backend {name!r} has no candidate for these operations; those that have: {having}"
            )
    focus = request.focus
    if focus is not None and not any(
        focus.has(entry.candidate.backend, entry.candidate.key) for plan in planned for entry in plan.candidates
    ):
        having = ", ".join(sorted(found))
        text = "{focus}: fits no candidate for these operations; backends: {having}"
        raise EmptySuite(detail=Message(text, focus=Field("focus", focus.name), having=having))
    return [_narrow(request, plan) for plan in planned]


def _joined(parts: Sequence[PlannedWorkload]) -> list[PlannedWorkload]:
    """One for each workload."""
    found: dict[str, list[PlannedWorkload]] = {}
    for part in parts:
        found.setdefault(part.workload.key, []).append(part)
    return [
        replace(first, candidates=tuple(entry for part in (first, *rest) for entry in part.candidates))
        for first, *rest in found.values()
    ]


def to_build(
    todo: Sequence[PlannedWorkload], known: JournalState | None, worker: Measurer, end: float = float("inf")
) -> ToBuild:
    """The modules that what is left to measure needs, and that aren't compiled yet.

    Where a user's file fails or a library hangs when it is asked, nothing is built ahead: each candidate is then built,
    and fails, when its turn to be vetted comes.
    """

    def is_left(key: str, candidate: Planned) -> bool:
        vetted = known.vetted.get(key, {}).get(candidate.candidate.key) if known else None
        return candidate.status is None and (vetted is None or vetted.status == "ok")

    wanted = tuple(
        (plan.workload, tuple(entry.candidate for entry in plan.candidates if is_left(plan.workload.key, entry)))
        for plan in todo
    )
    try:
        found: ToBuild = worker.ask(ListToBuild(wanted), _PLAN_TIMEOUT_S, end=end)
    except (WorkerDied, WorkerTimeout, WorkerRaised):
        return ToBuild()
    return found


def _narrow(request: Request, plan: PlannedWorkload) -> PlannedWorkload:
    """Only the backends, page sizes and focus that were asked for, and of candidates that promise more than being right
    those that somebody asked for. Baselines stay: the rest is held to them.
    """
    focus = request.focus
    rival = focus.rivals.get(plan.workload.key) if focus is not None else None
    held = {baseline.candidate for baseline in plan.baselines}
    with_promises = bool(request.required or request.backends or focus or request.policy.exhaustive)

    def wanted(backend: str, key: str, page: object) -> bool:
        if focus is not None and key != rival and not focus.has(backend, key):
            return False
        library = backend.split(".")[0]
        named = not request.backends or backend in request.backends or library in request.backends
        return named and (not request.page_sizes or page is None or page in request.page_sizes)

    kept = []
    for entry in plan.candidates:
        candidate = entry.candidate
        if entry.promises and not with_promises and candidate.key not in held:
            continue
        if candidate.key in held or wanted(candidate.backend, candidate.key, dict(candidate.knobs).get("page_size")):
            kept.append(entry)
    return replace(plan, candidates=tuple(kept))
