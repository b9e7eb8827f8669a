"""A whole tuning run: plan, reuse, share the workloads out to the workers, write."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from autotune_cli import __version__
from autotune_cli.errors import BadField, BudgetTooSmall, NoMemory
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.measure.floor import floor_us
from autotune_cli.measure.statistics import percentile
from autotune_cli.results.cache import CacheStore, identity_now, lookup
from autotune_cli.results.identity import environment_key, explain, identity
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalHeader, JournalState
from autotune_cli.results.runs import write_run
from autotune_cli.results.schema import Ceilings, Environment, RunFile, Settings, WorkloadResult
from autotune_cli.tuning.budget import RESERVE, VETTING_SHARE, Budget
from autotune_cli.tuning.building import Builds, build
from autotune_cli.tuning.jobs import MeasureCeilings, PlannedWorkload
from autotune_cli.tuning.keeping import noisy_note, split_noisy
from autotune_cli.tuning.own import OwnFiles
from autotune_cli.tuning.progress import Progress
from autotune_cli.tuning.request import Outcome, Request
from autotune_cli.tuning.resources import cores, load_average
from autotune_cli.tuning.resuming import resume_journal
from autotune_cli.tuning.selection import planned_workloads, to_build
from autotune_cli.tuning.session import Interrupted, Known, Session, SessionSettings
from autotune_cli.worker.process import OutOfTime, Stopped, Worker, WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.worker.protocol import Ready

# FlashInfer's workspaces, the flush buffer and torch's own context, beside a workload's tensors.
_OVERHEAD_BYTES = 3 << 30
# It takes a second; CUPTI's first session up to 4 s more.
_CEILINGS_TIMEOUT_S = 60.0
# To write a candidate down, in the journal and in the file, and to show it: 0.09 ms. Millions of them take minutes.
_WRITE_S = 1e-4
# Less of a budget than this would suffer from it.
_CEILINGS_LEAST_LEFT_S = 15.0
# Why races ended that a resumed run begins again: what happened to them may not happen again.
_NOTHING_TO_KEEP = ("killed", "reference")
# Why they ended before everything was judged.
_INCOMPLETE = ("budget", "reference")


@dataclass
class _State:
    """Shared by the threads of a run."""

    results: dict[str, WorkloadResult] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    interrupted: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def tune(request: Request, progress: Progress, stop: threading.Event) -> Outcome:
    """Tune every workload and write the result file.

    Setting ``stop`` (Ctrl-C) ends the workers; what was measured is written, and the journal stays for ``resume``.

    Raises:
        AutotuneError: bad input, no device, a file that can't be written. Nothing measured is lost: the journal stays.
        KeyboardInterrupt: ``stop`` was set before there was anything to write.
    """
    begin = time.monotonic()
    workers = [Worker(request.worker, gpu, stop) for gpu in request.gpus]
    try:
        ready = workers[0].start(_end(request, begin))
        return _Run(request, progress, stop, workers, ready, begin).go()
    except OutOfTime:
        assert request.budget_s is not None
        raise BudgetTooSmall(budget_s=request.budget_s, detail="starting and planning take longer") from None
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        for worker in workers:
            worker.kill()
        progress.end()


def _end(request: Request, begin: float) -> float:
    """Of the budget, by ``time.monotonic()``."""
    return float("inf") if request.budget_s is None else begin + request.budget_s


class _Run:
    def __init__(
        self,
        request: Request,
        progress: Progress,
        stop: threading.Event,
        workers: Sequence[Worker],
        ready: Ready,
        begin: float,
    ) -> None:
        self.request = request
        self.progress = progress
        self.stop = stop
        self.workers = workers
        self.environment: Environment = ready.environment
        self.environment_key = environment_key(ready.environment)
        self.begin = begin
        self.end = _end(request, begin)
        self.created = datetime.now(UTC)
        policy = request.policy
        self.settings = Settings(
            timer=ready.timer,
            l2="cold" if ready.l2 == "cold" else "warm",
            rounds=policy.rounds,
            iterations=policy.iterations,
            places=policy.places,
            seed=request.worker.seed,
            exhaustive=policy.exhaustive,
            budget_s=request.budget_s,
            timeout_s=request.timeout_s,
        )
        self.state = _State()
        self.store = CacheStore(request.root, request.name)
        self.own_files = OwnFiles(request.worker.kernel_files)

    def go(self) -> Outcome:
        self._check_memory()
        planned = planned_workloads(self.request, self.workers[0], self.end)
        identities = {}
        for plan in planned:
            if self.stop.is_set():
                raise Stopped
            identities[plan.workload.key] = self._identity(plan)
        header = self._header(identities)
        journal, known = resume_journal(self.request, header) if self.request.resume else (None, None)
        with contextlib.ExitStack() as stack:
            if journal is not None and known is not None:
                stack.enter_context(journal)
                self.created = datetime.fromisoformat(known.header.created)
                for note in known.notes:
                    self.progress.note(note)
            self.progress.begin(self.environment, self.settings, [plan.workload.key for plan in planned])
            todo = self._reuse(planned, identities, known)
            if journal is None:
                if not todo:
                    # The cache has it all: there is nothing to write, so its folder may be a read-only one.
                    return Outcome(self.store.path, self._run_file(planned), measured=0)
                journal = stack.enter_context(Journal.create(self.request.root, header, self.created))
            self._measure(planned, todo, identities, journal, known)
            if self.state.errors:
                raise self.state.errors[0]
            run = self._run_file(planned)
            path, run = self._write(journal, run)
            if not self.state.interrupted:
                journal.finish()
        measured = sum(not result.reused for result in run.workloads)
        return Outcome(path, run, self.state.interrupted, measured, journal.path if self.state.interrupted else None)

    def _check_memory(self) -> None:
        device = self.environment
        layouts = len(self.request.page_sizes) or None
        for workload in self.request.workloads:
            needed = memory_bytes(workload, layouts) + (_OVERHEAD_BYTES if device.device_kind == "cuda" else 0)
            if device.memory_bytes and needed > device.memory_bytes:
                raise NoMemory(
                    workload=workload.key,
                    needed_gb=needed / 1e9,
                    device=device.device,
                    available_gb=device.memory_bytes / 1e9,
                )

    def _identity(self, plan: PlannedWorkload) -> dict[str, str]:
        keys = [entry.candidate.key for entry in plan.candidates]
        used = {entry.candidate.backend for entry in plan.candidates} | {"problem"}
        sources = {name: digest for name, digest in plan.sources.items() if name in used}
        baselines = {baseline.name: baseline.candidate for baseline in plan.baselines}
        return identity(plan.workload, self.environment, self.settings, sources, keys, baselines)

    def _header(self, identities: dict[str, dict[str, str]]) -> JournalHeader:
        return JournalHeader(
            kind="cache" if self.request.use_cache else "run",
            name=self.request.name,
            created=self.created.isoformat(timespec="seconds"),
            command=self.request.command,
            environment=self.environment,
            settings=self.settings,
            workloads=identities,
        )

    # Reuse.

    def _reuse(
        self, planned: Sequence[PlannedWorkload], identities: dict[str, dict[str, str]], known: JournalState | None
    ) -> list[PlannedWorkload]:
        """Take what the journal and the cache have; return what is left to measure."""
        cached = None
        if self.request.use_cache:
            cached, notes = self.store.load()
            for note in notes:
                self.progress.note(note)
        todo = []
        for plan in planned:
            key = plan.workload.key
            result = self._resumed(known, key, identities[key])
            if result is not None and result.stopped in _NOTHING_TO_KEEP:
                result = None
            if result is None and self.request.use_cache:
                result, reasons = lookup(cached, key, identities[key], self.own_files.digest)
                if result is not None:
                    result = _reused(result, plan, self.environment_key)
                elif self.request.explain_miss or reasons != ["not in the cache"]:
                    self.progress.note(f"{key}: measured again: {'; '.join(reasons)}")
            if result is None:
                todo.append(plan)
            else:
                self.state.results[key] = result
                self.progress.done(result)
        if not todo and cached is not None:
            # Nothing will be measured, so the ceilings stay those of the run before.
            self.environment = cached.environments.get(self.environment_key, self.environment)
        return todo

    def _resumed(self, known: JournalState | None, key: str, planned: dict[str, str]) -> WorkloadResult | None:
        """The journal's result of a workload; what it knows is forgotten if files have changed that it depends on."""
        result = known.done.get(key) if known else None
        if known is None or result is None:
            return None
        changes = explain(result.identity, identity_now(result, planned, self.own_files.digest))
        if not changes:
            return result
        self.progress.note(f"{key}: measured again: {'; '.join(changes)}")
        for facts in (known.done, known.vetted, known.rounds):
            facts.pop(key, None)
        return None

    # Measuring.

    def _measure(
        self,
        planned: Sequence[PlannedWorkload],
        todo: Sequence[PlannedWorkload],
        identities: dict[str, dict[str, str]],
        journal: Journal,
        known: JournalState | None,
    ) -> None:
        waiting: queue.SimpleQueue[PlannedWorkload] = queue.SimpleQueue()
        for plan in todo:
            waiting.put(plan)
        try:
            builds = self._build(todo, known)
        except Stopped:
            self.state.interrupted = True
            return
        except OutOfTime:
            builds = Builds()
        left = self._budget_left_s(_WRITE_S * sum(len(plan.candidates) for plan in planned))
        if todo and left == 0.0:
            detail = f"starting and planning took {time.monotonic() - self.begin:.1f} s"
            raise BudgetTooSmall(budget_s=self.request.budget_s, detail=detail)
        count = min(len(self.workers), max(1, len(todo)))
        budget = Budget(left, len(todo), count, reserve=RESERVE)
        keep_own = bool(self.request.worker.kernel_files) and not self.request.use_cache
        settings = SessionSettings(self.request.policy, self.request.timeout_s, self.environment_key, keep_own)

        def work(worker: Worker) -> None:
            try:
                ready = worker.start(self.end)
                self._same_device(ready)
                environment: Environment | None = None
                while not self.stop.is_set():
                    try:
                        plan = waiting.get_nowait()
                    except queue.Empty:
                        return
                    if environment is None:
                        environment = self._with_ceilings(worker, ready.environment)
                    key = plan.workload.key
                    facts = Known(known.vetted.get(key, {}), known.rounds.get(key, {})) if known else Known()
                    session = Session(
                        plan, identities[key], settings, worker, journal, self.progress, budget.share(), self.stop,
                        facts, floor_us(cost(plan.workload), environment, self.settings.l2), ready.card, builds,
                    )  # fmt: skip
                    result = self.own_files.settled(session.run(), plan, worker, self.progress)
                    journal.done(result)
                    with self.state.lock:
                        self.state.results[key] = result
                    self.progress.done(result)
            except Interrupted as error:
                self._interrupted(error)
            except Stopped:
                return
            except OutOfTime:
                # One of several GPUs came up too late to help.
                return
            except BaseException as error:  # handed to the main thread, which raises it
                with self.state.lock:
                    self.state.errors.append(error)
                self.stop.set()

        threads = [
            threading.Thread(target=work, args=(worker,), name=f"gpu-{i}")
            for i, worker in enumerate(self.workers[:count])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.stop.is_set() and not self.state.errors:
            self.state.interrupted = True

    def _build(self, todo: Sequence[PlannedWorkload], known: JournalState | None) -> Builds:
        """Compile what isn't, for all workloads and GPUs at once. It is a part of the vetting, whose time bounds it."""
        if not todo:
            return Builds()
        wanted = to_build(todo, known, self.workers[0], self.end)
        left = self._budget_left_s()
        share = None if left is None else VETTING_SHARE * left
        return build(wanted, self.request.worker, self.progress, self.stop, share, self.request.build_timeout_s)

    def _budget_left_s(self, kept_s: float = 0.0) -> float | None:
        spent = time.monotonic() - self.begin + kept_s
        return None if self.request.budget_s is None else max(0.0, self.request.budget_s - spent)

    def _interrupted(self, error: Interrupted) -> None:
        with self.state.lock:
            self.state.interrupted = True
            if error.partial is not None:
                self.state.results[error.partial.key] = error.partial

    def _same_device(self, ready: Ready) -> None:
        other = ready.environment
        if (other.device, other.memory_bytes) != (self.environment.device, self.environment.memory_bytes):
            detail = f"{self.environment.device} and {other.device} differ; tune them in runs of their own"
            raise BadField(field="gpus", detail=detail)

    def _with_ceilings(self, worker: Worker, environment: Environment) -> Environment:
        """A worker's environment with the ceilings of its card, which may be 2 or 3 % from another's; without them,
        and a note, where they can't be measured: then its workloads have no floor, and everything else.
        """
        left = self._budget_left_s()
        if left is not None and left < _CEILINGS_LEAST_LEFT_S:
            self.progress.note(f"no floors, as measuring bandwidth and matrix rate takes too much of {left:.0f} s")
            return environment
        try:
            ceilings: Ceilings = worker.ask(MeasureCeilings(), _CEILINGS_TIMEOUT_S)
        except (WorkerDied, WorkerTimeout, WorkerRaised) as error:
            self.progress.note(
                f"no floors, as bandwidth and matrix rate can't be measured: {str(error).splitlines()[0]}"
            )
            return environment
        measured = environment.model_copy(update=ceilings.model_dump())
        with self.state.lock:
            # The file shows those of the first card.
            if self.environment.memory_gb_per_s is None:
                self.environment = measured
        return measured

    # The file.

    def _run_file(self, planned: Sequence[PlannedWorkload]) -> RunFile:
        results = [self.state.results[plan.workload.key] for plan in planned if plan.workload.key in self.state.results]
        noises = [result.noise for result in results if result.noise is not None]
        return RunFile(
            kind="cache" if self.request.use_cache else "run",
            name=self.request.name,
            created=self.created.isoformat(timespec="seconds"),
            program=f"kernel-autotune {__version__}",
            command=self.request.command,
            environments={self.environment_key: self.environment},
            environment=self.environment_key,
            settings=self.settings,
            noise_floor=percentile(noises, 95.0),
            complete=not self.state.interrupted and all(result.stopped not in _INCOMPLETE for result in results),
            wall_s=round(time.monotonic() - self.begin, 3),
            workloads=tuple(results),
        )

    def _write(self, journal: Journal, run: RunFile) -> tuple[Path, RunFile]:
        """Write the run, and return where all of it is."""
        if not self.request.use_cache:
            return journal.run_path, write_run(journal.run_path, run)
        kept, left_out = (run, ()) if self.request.keep_noisy else split_noisy(run)
        # An interrupted run is whole in its journal.
        elsewhere = bool(left_out) and not self.state.interrupted
        if kept.workloads or not elsewhere:
            for note in self.store.save(kept):
                self.progress.note(note)
        if not elsewhere:
            return self.store.path, run
        written = write_run(journal.run_path, run.model_copy(update={"kind": "run"}))
        self.progress.note(noisy_note(run, left_out, str(journal.run_path), load_average(), cores()))
        return journal.run_path, written


def _reused(result: WorkloadResult, plan: PlannedWorkload, environment: str) -> WorkloadResult:
    """A cached result as one of this run. Its baselines run the same candidates, perhaps in another version."""
    versions = {
        baseline.name: baseline.model_dump(include={"version", "version_from", "source"}) for baseline in plan.baselines
    }
    baselines = tuple(each.model_copy(update=versions.get(each.name, {})) for each in result.baselines)
    return result.model_copy(update={"reused": True, "environment": environment, "baselines": baselines})
