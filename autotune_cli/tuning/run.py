"""A whole tuning run: plan, reuse, measure, write."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from autotune_cli.errors import BudgetTooSmall, NoMemory
from autotune_cli.kernels.family import memory_bytes
from autotune_cli.results.cache import CacheStore
from autotune_cli.results.identity import environment_key, identity
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalHeader
from autotune_cli.results.schema import RunFile, Settings
from autotune_cli.tuning.baselines import missing_everywhere
from autotune_cli.tuning.bench_process import BenchProcess
from autotune_cli.tuning.flashinfer_choices import FlashinferFiles, beside
from autotune_cli.tuning.measurer import Measurer
from autotune_cli.tuning.measuring import Measuring
from autotune_cli.tuning.messages import PlannedWorkload, ReadyToMeasure
from autotune_cli.tuning.own import OwnFiles
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.request import Request, RunOutcome
from autotune_cli.tuning.resuming import resume_journal
from autotune_cli.tuning.reusing import reuse
from autotune_cli.tuning.run_state import RunState, budget_end
from autotune_cli.tuning.selection import planned_workloads
from autotune_cli.tuning.writing import run_file, write, write_weights
from autotune_cli.worker.failures import OutOfTime, Stopped

# FlashInfer's workspaces, the flush buffer and torch's own context, beside a workload's tensors.
_OVERHEAD_BYTES = 3 << 30


def tune(request: Request, progress: TuneProgress, stop: threading.Event) -> RunOutcome:
    """Tune every workload and write the result file.

    Setting ``stop`` (Ctrl-C) ends the workers; what was measured is written, and the journal stays for ``resume``.

    Raises:
        AutotuneError: bad input, no device, a file that can't be written. Nothing measured is lost: the journal stays.
        KeyboardInterrupt: ``stop`` was set before there was anything to write.
    """
    begin = time.monotonic()
    kept = beside(CacheStore(request.root, request.name).path)
    files = FlashinferFiles(kept if request.use_cache else None)
    workers = [
        BenchProcess(files.settings(request.worker, number), gpu, stop) for number, gpu in enumerate(request.gpus)
    ]
    try:
        ready = workers[0].start(budget_end(request, begin))
        state = run_state(request, progress, stop, ready, begin, files)
        check_memory(state)
        planned = planned_workloads(request, workers[0], state.end)
        with contextlib.ExitStack() as stack:
            run = TuningRun(state, planned, identities(state, planned), workers)
            run.measure(stack)
            return run.outcome(*run.written())
    except OutOfTime:
        assert request.budget_s is not None
        raise BudgetTooSmall(budget_s=request.budget_s, detail="starting and planning take longer") from None
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        for worker in workers:
            worker.kill()
        files.close()
        progress.end()


def run_state(
    request: Request,
    progress: TuneProgress,
    stop: threading.Event,
    ready: ReadyToMeasure,
    begin: float,
    files: FlashinferFiles | None = None,
) -> RunState:
    """A run that begins.

    Args:
        ready: of a worker that is like all of the run.
        begin: by ``time.monotonic()``.
        files: of FlashInfer's own autotuner; None: it tunes nothing.
    """
    policy = request.policy
    settings = Settings(
        timer=ready.timer,
        l2="cold" if ready.l2 == "cold" else "warm",
        rounds=policy.rounds,
        iterations=policy.iterations,
        places=policy.placements,
        seed=request.worker.seed,
        exhaustive=policy.exhaustive,
        budget_s=request.budget_s,
        timeout_s=request.timeout_s,
    )
    return RunState(
        request=request,
        progress=progress,
        stop=stop,
        settings=settings,
        environment=ready.environment,
        environment_key=environment_key(ready.environment),
        begin=begin,
        created=datetime.now(UTC),
        store=CacheStore(request.root, request.name),
        flashinfer=files,
        own_files=OwnFiles(request.worker.kernel_files),
    )


class TuningRun:
    """One table: its workloads, the workers that measure them, which are all alike, and its journal."""

    def __init__(
        self,
        state: RunState,
        planned: Sequence[PlannedWorkload],
        identities: Mapping[str, Mapping[str, str]],
        workers: Sequence[Measurer],
    ) -> None:
        self.state = state
        self._planned = planned
        self._identities = identities
        self._workers = workers
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal | None:
        """None: the cache has it all, and there is nothing to write."""
        return self._journal

    @property
    def hosts(self) -> list[str]:
        """The machines of the workers."""
        return list(dict.fromkeys(worker.host for worker in self._workers))

    @property
    def file(self) -> RunFile:
        """What the run has come to so far."""
        return run_file(self.state, self._planned)

    def measure(self, stack: contextlib.ExitStack) -> None:
        """Take what the journal and the cache have, and measure the rest. Leaving ``stack`` closes the journal.

        Raises:
            AutotuneError: see :func:`tune`.
        """
        state, progress = self.state, self.state.progress
        header = _header(state, self._identities)
        journal, known = resume_journal(state.request, header) if state.request.resume else (None, None)
        if journal is not None and known is not None:
            stack.enter_context(journal)
            state.created = datetime.fromisoformat(known.header.created)
            for note in known.notes:
                progress.note(note)
        progress.begin(state.environment, state.settings, [plan.workload.key for plan in self._planned])
        todo = reuse(state, self._planned, self._identities, known)
        if journal is None:
            if not todo:
                # The cache has it all: there is nothing to write, so its folder may be a read-only one.
                return
            journal = stack.enter_context(Journal.create(state.request.root, header, state.created))
        self._journal = journal
        # Of the others, which stand beside, the table tells.
        for note in missing_everywhere(todo, {state.request.asked, *(b.name for b in state.request.baselines[:1])}):
            progress.note(note)
        candidates = sum(len(plan.candidates) for plan in self._planned)
        Measuring(state, self._workers, journal, known, self._identities).run(todo, candidates)
        if state.errors:
            raise state.errors[0]

    def written(self) -> tuple[Path, RunFile]:
        """Write the run, and return where all of it is.

        Raises:
            CannotWrite: a full disk, a read-only folder ...
        """
        if self._journal is None:
            write_weights(self.state, self.file)
            return self.state.store.path, self.file
        return write(self.state, self._journal, self.file)

    def outcome(self, path: Path, run: RunFile, keep_journal: bool = False) -> RunOutcome:
        """What the run has come to, once that is written; its journal goes, unless it is to be resumed."""
        state, journal = self.state, self._journal
        if journal is None:
            return RunOutcome(path, run, measured=0)
        keep = keep_journal or state.interrupted
        if not keep:
            journal.finish()
        measured = sum(not result.reused for result in run.workloads)
        kept = journal.path if keep else None
        lost = "; ".join(state.lost) if state.interrupted and not state.stop.is_set() else None
        return RunOutcome(path, run, state.interrupted, measured, kept, lost)


def check_memory(state: RunState) -> None:
    """Do the inputs of every workload fit?

    Raises:
        NoMemory: names one whose inputs don't.
    """
    device = state.environment
    layouts = len(state.request.page_sizes) or None
    for workload in state.request.workloads:
        needed = memory_bytes(workload, layouts) + (_OVERHEAD_BYTES if device.device_kind == "cuda" else 0)
        if device.memory_bytes and needed > device.memory_bytes:
            raise NoMemory(
                workload=workload.key,
                needed_gb=needed / 1e9,
                device=device.device,
                available_gb=device.memory_bytes / 1e9,
            )


def identities(state: RunState, planned: Sequence[PlannedWorkload]) -> dict[str, dict[str, str]]:
    """What each workload's timings depend on, by its key.

    Raises:
        Stopped: the user wants to stop.
    """
    found = {}
    for plan in planned:
        if state.stop.is_set():
            raise Stopped
        found[plan.workload.key] = _identity(state, plan)
    return found


def _identity(state: RunState, plan: PlannedWorkload) -> dict[str, str]:
    keys = [entry.candidate.key for entry in plan.candidates]
    used = {entry.candidate.backend for entry in plan.candidates} | {"problem"}
    sources = {name: digest for name, digest in plan.sources.items() if name in used}
    baselines = {baseline.name: baseline.candidate for baseline in plan.baselines}
    return identity(
        plan.workload, state.environment, state.settings, sources, keys, baselines, required=state.request.required
    )


def _header(state: RunState, identities: Mapping[str, Mapping[str, str]]) -> JournalHeader:
    return JournalHeader(
        kind="cache" if state.request.use_cache else "run",
        name=state.request.name,
        created=state.created.isoformat(timespec="seconds"),
        command=state.request.command,
        environment=state.environment,
        settings=state.settings,
        workloads={key: dict(fields) for key, fields in identities.items()},
    )
