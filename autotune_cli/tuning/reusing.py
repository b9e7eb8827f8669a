"""What a run need not measure: results that its journal or the cache have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_cli.results.cache import identity_now, lookup
from autotune_cli.results.identity import explain
from autotune_cli.results.records import JournalState
from autotune_cli.results.schema import WorkloadResult
from autotune_cli.tuning.messages import PlannedWorkload
from autotune_cli.tuning.run_state import RunState

# Why races ended that a resumed run begins again: what happened to them may not happen again.
_NOTHING_TO_KEEP = ("killed", "reference")


def reuse(
    state: RunState,
    planned: Sequence[PlannedWorkload],
    identities: Mapping[str, Mapping[str, str]],
    known: JournalState | None,
) -> list[PlannedWorkload]:
    """Take what the journal (``known``) and the cache have, and return what is left to measure.

    Raises:
        CannotWrite: see :meth:`autotune_cli.results.cache.CacheStore.load`.
    """
    request, progress = state.request, state.progress
    cached = None
    if request.use_cache:
        cached, notes = state.store.load()
        state.cached_traffic = None if cached is None or cached.traffic is None else cached.traffic.digest
        for note in notes:
            progress.note(note)
    todo = []
    for plan in planned:
        key = plan.workload.key
        result = _resumed(state, known, key, identities[key])
        if result is not None and result.stopped in _NOTHING_TO_KEEP:
            result = None
        if result is None and request.use_cache:
            result, reasons = lookup(cached, key, identities[key], state.own_files.digest)
            if result is not None:
                result = _reused(result, plan, state.environment_key)
            elif request.explain_miss or reasons != ["not in the cache"]:
                progress.note(f"{key}: measured again: {'; '.join(reasons)}")
        if result is None:
            todo.append(plan)
        else:
            state.results[key] = result
            progress.done(result)
    if not todo and cached is not None:
        # Nothing will be measured, so the ceilings stay those of the run before.
        state.environment = cached.environments.get(state.environment_key, state.environment)
    return todo


def _resumed(
    state: RunState, known: JournalState | None, key: str, planned: Mapping[str, str]
) -> WorkloadResult | None:
    """The journal's result of a workload; what it holds is dropped if files that it depends on have changed."""
    result = known.done.get(key) if known else None
    if known is None or result is None:
        return None
    changes = explain(result.identity, identity_now(result, planned, state.own_files.digest))
    if not changes:
        return result
    state.progress.note(f"{key}: measured again: {'; '.join(changes)}")
    known.forget(key)
    return None


def _reused(result: WorkloadResult, plan: PlannedWorkload, environment: str) -> WorkloadResult:
    """A cached result as one of this run. Its baselines run the same candidates, perhaps in another version."""
    versions = {
        baseline.name: baseline.model_dump(include={"version", "version_from", "source"}) for baseline in plan.baselines
    }
    baselines = tuple(each.model_copy(update=versions.get(each.name, {})) for each in result.baselines)
    return result.model_copy(update={"reused": True, "environment": environment, "baselines": baselines})
