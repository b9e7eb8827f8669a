"""The file of a run: put together, and written where it belongs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from autotune_cli import __version__
from autotune_cli.errors import CannotWrite
from autotune_cli.measure.statistics import percentile
from autotune_cli.results.journal import Journal
from autotune_cli.results.runs import write_run
from autotune_cli.results.schema import RunFile, WorkloadResult
from autotune_cli.tuning.flashinfer_choices import beside
from autotune_cli.tuning.keeping import noisy_note, split_noisy
from autotune_cli.tuning.messages import PlannedWorkload
from autotune_cli.tuning.resources import cores, load_average
from autotune_cli.tuning.run_state import RunState

# Why races ended before everything was judged.
_INCOMPLETE = ("budget", "reference")


def run_file(state: RunState, planned: Sequence[PlannedWorkload]) -> RunFile:
    """What the run has come to, its workloads in the order of the plan."""
    found = [state.results[plan.workload.key] for plan in planned if plan.workload.key in state.results]
    results = [_weighed(state, result) for result in found]
    noises = [result.noise for result in results if result.noise is not None]
    return RunFile(
        kind="cache" if state.request.use_cache else "run",
        name=state.request.name,
        created=state.created.isoformat(timespec="seconds"),
        program=f"kernel-autotune {__version__}",
        command=state.request.command,
        environments={state.environment_key: state.environment},
        environment=state.environment_key,
        settings=state.settings,
        traffic=state.request.traffic,
        noise_floor=percentile(noises, 95.0),
        complete=not state.interrupted and all(result.stopped not in _INCOMPLETE for result in results),
        wall_s=round(time.monotonic() - state.begin, 3),
        workloads=tuple(results),
    )


def _weighed(state: RunState, result: WorkloadResult) -> WorkloadResult:
    """With the weight that it has in this run's traffic; one out of the cache may have that of another's."""
    part = state.request.stands_for.get(result.key)
    weight = None if part is None else float(part.steps * part.layers)
    return result.model_copy(update={"weight": weight, "stands_for": part})


def write_weights(state: RunState, run: RunFile) -> None:
    """Keep the weights of a run that had nothing to measure, if the cache has those of another traffic.

    A cache that can't be written, as in a folder of results that others made, keeps what it has; a note says so.
    """
    if state.request.traffic is None or state.cached_traffic == state.request.traffic.digest:
        return
    try:
        notes = state.store.save(run)
    except CannotWrite as error:
        notes = [f"the weights of this traffic are not kept: {error}"]
    for note in notes:
        state.progress.note(note)


def write(state: RunState, journal: Journal, run: RunFile) -> tuple[Path, RunFile]:
    """Write the run, and return where all of it is.

    Raises:
        CannotWrite: a full disk, a read-only folder ...
    """
    request, progress = state.request, state.progress
    if state.flashinfer is not None:
        place = beside(state.store.path if request.use_cache else journal.run_path)
        choices = state.flashinfer.save(place, request.root, run.workloads, progress.note)
        run = run.model_copy(update={"flashinfer": choices})
    if not request.use_cache:
        return journal.run_path, write_run(journal.run_path, run)
    kept, left_out = (run, ()) if request.keep_noisy else split_noisy(run)
    # An interrupted run is whole in its journal.
    elsewhere = bool(left_out) and not state.interrupted
    if kept.workloads or not elsewhere:
        for note in state.store.save(kept):
            progress.note(note)
    if not elsewhere:
        return state.store.path, run
    written = write_run(journal.run_path, run.model_copy(update={"kind": "run"}))
    progress.note(noisy_note(run, left_out, str(journal.run_path), load_average(), cores()))
    return journal.run_path, written
