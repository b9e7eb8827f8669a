"""Measures what a run must measure: builds modules, then shares the workloads out to the workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from autotune_cli.errors import BadField, BudgetTooSmall
from autotune_cli.kernels.family import cost
from autotune_cli.measure.floor import floor_us
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalState
from autotune_cli.results.schema import Ceilings, Environment
from autotune_cli.tuning.budget import RESERVE, VETTING_SHARE, Budget
from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.jobs import MeasureCeilings
from autotune_cli.tuning.measurer import Measurer
from autotune_cli.tuning.messages import PlannedWorkload, ReadyToMeasure
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.run_state import RunState
from autotune_cli.tuning.selection import to_build
from autotune_cli.tuning.several_builds import SeveralBuilds
from autotune_cli.tuning.task import Interrupted, Known, Task, TaskSettings
from autotune_cli.tuning.waiting import Waiting
from autotune_cli.tuning.workload import tune_workload
from autotune_cli.worker.failures import OutOfTime, Stopped, WorkerDied, WorkerLost, WorkerRaised, WorkerTimeout

# It takes a second; CUPTI's first session up to 4 s more.
_CEILINGS_TIMEOUT_S = 60.0
# Less of a budget than this would suffer from it.
_CEILINGS_LEAST_LEFT_S = 15.0
# To write a candidate down, in the journal and in the file, and to show it: 0.09 ms. Millions of them take minutes.
_WRITE_S = 1e-4


class Measuring:
    """The part of a run in which its workers measure, one thread each."""

    def __init__(
        self,
        state: RunState,
        workers: Sequence[Measurer],
        journal: Journal,
        known: JournalState | None,
        identities: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._state = state
        self._workers = workers
        self._journal = journal
        self._known = known
        self._identities = identities
        self._waiting = Waiting((), state.stop)

    def run(self, todo: Sequence[PlannedWorkload], candidates: int) -> None:
        """Put the results of ``todo`` into the state; and what went wrong, or that the user wants to stop.

        Args:
            candidates: how many the whole run has, which take their time to be written down.

        Raises:
            BudgetTooSmall: there is no time left to measure anything.
        """
        state = self._state
        self._waiting = Waiting(todo, state.stop)
        try:
            builds = self._build_everywhere(todo)
        except Stopped:
            state.interrupted = True
            return
        left = state.budget_left_s(_WRITE_S * candidates)
        if todo and left == 0.0:
            detail = f"starting and planning took {time.monotonic() - state.begin:.1f} s"
            raise BudgetTooSmall(budget_s=state.request.budget_s, detail=detail)
        count = min(len(self._workers), max(1, len(todo)))
        budget = Budget(left, len(todo), count, reserve=RESERVE)
        # A process dies with the thread that has started it, so each worker has a thread to the end.
        threads = [
            threading.Thread(
                target=self._work, args=(worker, budget, builds.get(worker.host, Builds())), name=f"gpu-{i}"
            )
            for i, worker in enumerate(self._workers[:count])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if state.errors:
            return
        if state.stop.is_set() or (self._waiting and state.lost):
            state.interrupted = True

    def _build_everywhere(self, todo: Sequence[PlannedWorkload]) -> dict[str, Builds]:
        """Compile what isn't, for all workloads and GPUs at once, on each machine whose workers get something to do.

        Returns:
            What came of it by machine.

        Raises:
            Stopped: the user wants to stop.
        """
        builders: dict[str, Measurer] = {}
        for worker in self._workers[: max(1, len(todo))] if todo else ():
            builders.setdefault(worker.host, worker)
        progress = self._state.progress
        if len(builders) < 2:
            return {host: self._build(todo, worker, progress) for host, worker in builders.items()}
        several = SeveralBuilds(progress)
        # The workers of other machines are asked: no process hangs on these threads.
        with ThreadPoolExecutor(len(builders)) as pool:
            found = {
                host: pool.submit(self._build, todo, worker, several.of(host)) for host, worker in builders.items()
            }
        return {host: future.result() for host, future in found.items()}

    def _build(self, todo: Sequence[PlannedWorkload], worker: Measurer, progress: TuneProgress) -> Builds:
        """On one machine. It is a part of the vetting, whose time bounds it. What a lost machine has built is no
        matter: its workers say that they are lost when they are asked next.
        """
        state = self._state
        try:
            wanted = to_build(todo, self._known, worker, state.end)
            left = state.budget_left_s()
            share = None if left is None else VETTING_SHARE * left
            return worker.build(wanted, progress, share, state.request.build_timeout_s)
        except (OutOfTime, WorkerLost):
            return Builds()

    def _work(self, worker: Measurer, budget: Budget, builds: Builds) -> None:
        """Tune workloads with one worker until none waits."""
        state = self._state
        try:
            self._tune_all(worker, budget, builds)
        except Interrupted as error:
            with state.lock:
                state.interrupted = True
                if error.partial is not None:
                    state.results[error.partial.key] = error.partial
        except Stopped:
            return
        except OutOfTime:
            # One of several GPUs came up too late to help.
            return
        except WorkerLost as error:
            budget.worker_lost()
            with state.lock:
                state.lost.append(str(error))
        except BaseException as error:  # handed to the main thread, which raises it
            with state.lock:
                state.errors.append(error)
            state.stop.set()

    def _tune_all(self, worker: Measurer, budget: Budget, builds: Builds) -> None:
        state, request = self._state, self._state.request
        keep_own = bool(request.worker.kernel_files) and not request.use_cache
        settings = TaskSettings(request.policy, request.timeout_s, state.environment_key, keep_own, request.required)
        ready = worker.start(state.end)
        self._check_same_device(ready)
        environment: Environment | None = None
        begun = self._known.begun if self._known is not None else {}
        mine = {key for key, place in begun.items() if place == worker.place}
        while (plan := self._waiting.take(mine)) is not None:
            key = plan.workload.key
            try:
                if environment is None:
                    environment = self._with_ceilings(worker, ready.environment)
                task = Task(
                    planned=plan,
                    identity=self._identities[key],
                    settings=settings,
                    worker=worker,
                    journal=self._journal,
                    progress=state.progress,
                    share=budget.share(),
                    stop=state.stop,
                    known=self._begun(key, worker.place),
                    floor_us=floor_us(cost(plan.workload), environment, state.settings.l2),
                    card=ready.card,
                    builds=builds,
                )
                result = state.own_files.settled(tune_workload(task), plan, worker, state.progress)
            except WorkerLost as error:
                state.progress.note(f"{error}; {key} is begun again by another worker, if there is one")
                self._waiting.give_back(plan)
                raise
            except BaseException:
                self._waiting.finished()
                raise
            self._journal.done(result)
            with state.lock:
                state.results[result.key] = result
            state.progress.done(result)
            self._waiting.finished()

    def _begun(self, key: str, place: str | None) -> Known:
        """Write down where a workload is begun, and return what the journal has measured of it at that card."""
        known = self._known
        if place is not None:
            if known is not None and known.begun.get(key, place) != place:
                self._state.progress.note(f"{key}: begun again, as another card had begun it")
            line = self._journal.begun(key, place)
            if known is not None:
                known.add(line)
        if known is None:
            return Known()
        return Known(known.vetted.get(key, {}), known.rounds.get(key, {}))

    def _check_same_device(self, ready: ReadyToMeasure) -> None:
        """All results of a run are one device's.

        Raises:
            BadField: the worker's GPU is another product than the first one's.
        """
        ours, other = self._state.environment, ready.environment
        # Two machines of one processor may differ in memory, on which no timing depends.
        is_equal = other.device_kind == "cpu" or other.memory_bytes == ours.memory_bytes
        if other.device != ours.device or not is_equal:
            detail = f"{ours.device} and {other.device} differ; tune them in runs of their own"
            raise BadField(field="gpus", detail=detail)

    def _with_ceilings(self, worker: Measurer, environment: Environment) -> Environment:
        """A worker's environment with the ceilings of its card, which may be 2 or 3 % from another's; without them,
        and a note, where they can't be measured: then its workloads have no floor, and everything else.
        """
        state = self._state
        left = state.budget_left_s()
        if left is not None and left < _CEILINGS_LEAST_LEFT_S:
            state.progress.note(f"no floors, as measuring bandwidth and matrix rate takes too much of {left:.0f} s")
            return environment
        try:
            ceilings: Ceilings = worker.ask(MeasureCeilings(), _CEILINGS_TIMEOUT_S)
        except (WorkerDied, WorkerTimeout, WorkerRaised) as error:
            state.progress.note(
                f"no floors, as bandwidth and matrix rate can't be measured: {str(error).splitlines()[0]}"
            )
            return environment
        measured = environment.model_copy(update=ceilings.model_dump())
        with state.lock:
            # The file shows those of the first card.
            if state.environment.memory_gb_per_s is None:
                state.environment = measured
        return measured
