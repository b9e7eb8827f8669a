"""A whole tuning run: plan, reuse, share the workloads out to the workers, write."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from autotune_cli import __version__
from autotune_cli.errors import AutotuneError, NoMemory
from autotune_cli.kernels.models.memory import PAGE_LAYOUTS, memory_bytes
from autotune_cli.kernels.workload import cost
from autotune_cli.measure.floor import floor_us
from autotune_cli.measure.statistics import percentile
from autotune_cli.results.cache import CacheStore, lookup
from autotune_cli.results.identity import environment_key, identity
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalHeader, JournalState
from autotune_cli.results.runs import new_run_path, write_run
from autotune_cli.results.schema import Ceilings, Environment, RunFile, Settings, WorkloadResult
from autotune_cli.tuning.budget import VETTING_SHARE, Budget
from autotune_cli.tuning.building import Builds, build
from autotune_cli.tuning.jobs import MeasureCeilings, PlannedWorkload, Ready
from autotune_cli.tuning.keeping import noisy_note, split_noisy
from autotune_cli.tuning.process import Stopped, Worker, WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.tuning.progress import Progress
from autotune_cli.tuning.request import Outcome, Request
from autotune_cli.tuning.resources import cores, load_average
from autotune_cli.tuning.resuming import open_journal, run_path
from autotune_cli.tuning.selection import planned_workloads, to_build
from autotune_cli.tuning.session import Interrupted, Known, Session, SessionSettings

# FlashInfer's workspaces, the flush buffer and torch's own context, beside a workload's tensors.
_OVERHEAD_BYTES = 3 << 30
# It takes a second; CUPTI's first session up to 4 s more.
_CEILINGS_TIMEOUT_S = 60.0


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
        ready = workers[0].start()
        return _Run(request, progress, stop, workers, ready, begin).go()
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        for worker in workers:
            worker.kill()
        progress.end()


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

    def go(self) -> Outcome:
        self._check_memory()
        planned = planned_workloads(self.request, self.workers[0])
        identities = {plan.workload.key: self._identity(plan) for plan in planned}
        journal, known = open_journal(self.request, self._header(identities), self.created)
        with journal:
            if known is not None:
                self.created = datetime.fromisoformat(known.header.created)
                for note in known.notes:
                    self.progress.note(note)
            path = self.store.path if self.request.use_cache else run_path(self.request, journal, self.created)
            self.progress.begin(self.environment, self.settings, [plan.workload.key for plan in planned])
            todo = self._reuse(planned, identities, known)
            self._measure(todo, identities, journal, known)
            if self.state.errors:
                raise self.state.errors[0]
            run = self._run_file(planned)
            path = self._write(path, run)
            if not self.state.interrupted:
                journal.finish()
        measured = sum(not result.reused for result in run.workloads)
        return Outcome(path, run, self.state.interrupted, measured, journal.path if self.state.interrupted else None)

    def _check_memory(self) -> None:
        device = self.environment
        layouts = len(self.request.page_sizes) or PAGE_LAYOUTS
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
            result = known.done.get(key) if known else None
            if result is None and self.request.use_cache:
                result, reasons = lookup(cached, key, identities[key])
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

    # Measuring.

    def _measure(
        self,
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
        left = self._budget_left_s()
        count = min(len(self.workers), max(1, len(todo)))
        budget = Budget(left, len(todo), count)
        settings = SessionSettings(self.request.policy, self.request.timeout_s, self.environment_key)

        def work(worker: Worker) -> None:
            try:
                ready = worker.start()
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
                    result = session.run()
                    journal.done(result)
                    with self.state.lock:
                        self.state.results[key] = result
                    self.progress.done(result)
            except Interrupted as error:
                self._interrupted(error)
            except Stopped:
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
        wanted = to_build(todo, known, self.workers[0])
        left = self._budget_left_s()
        share = None if left is None else VETTING_SHARE * left
        return build(wanted, self.request.worker, self.progress, self.stop, share, self.request.build_timeout_s)

    def _budget_left_s(self) -> float | None:
        spent = time.monotonic() - self.begin
        return None if self.request.budget_s is None else max(0.0, self.request.budget_s - spent)

    def _interrupted(self, error: Interrupted) -> None:
        with self.state.lock:
            self.state.interrupted = True
            if error.partial is not None:
                self.state.results[error.partial.key] = error.partial

    def _same_device(self, ready: Ready) -> None:
        other = ready.environment
        if (other.device, other.memory_bytes) != (self.environment.device, self.environment.memory_bytes):
            raise AutotuneError(
                detail=f"--gpus: {self.environment.device} and {other.device} differ; tune them in runs of their own"
            )

    def _with_ceilings(self, worker: Worker, environment: Environment) -> Environment:
        """A worker's environment with the ceilings of its card, which may be 2 or 3 % from another's; without them,
        and a note, where they can't be measured: then its workloads have no floor, and everything else.
        """
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
            complete=not self.state.interrupted and all(result.stopped != "budget" for result in results),
            wall_s=round(time.monotonic() - self.begin, 3),
            workloads=tuple(results),
        )

    def _write(self, path: Path, run: RunFile) -> Path:
        """Write the run, and return where all of it is."""
        if not self.request.use_cache:
            write_run(path, run)
            return path
        kept, left_out = (run, ()) if self.request.keep_noisy else split_noisy(run)
        # An interrupted run is whole in its journal.
        elsewhere = bool(left_out) and not self.state.interrupted
        if kept.workloads or not elsewhere:
            for note in self.store.save(kept):
                self.progress.note(note)
        if not elsewhere:
            return path
        whole = new_run_path(self.request.root, self.request.name, self.created)
        write_run(whole, run.model_copy(update={"kind": "run"}))
        self.progress.note(noisy_note(run, left_out, str(whole), load_average(), cores()))
        return whole


def _reused(result: WorkloadResult, plan: PlannedWorkload, environment: str) -> WorkloadResult:
    """A cached result as one of this run. Its baselines run the same candidates, perhaps in another version."""
    versions = {
        baseline.name: baseline.model_dump(include={"version", "version_from", "source"}) for baseline in plan.baselines
    }
    baselines = tuple(each.model_copy(update=versions.get(each.name, {})) for each in result.baselines)
    return result.model_copy(update={"reused": True, "environment": environment, "baselines": baselines})
