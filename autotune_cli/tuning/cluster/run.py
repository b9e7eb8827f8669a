"""A tuning run whose workers are on the nodes of a cluster: one table for each kind of node."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, Protocol, TypeVar

from autotune_cli.errors import BadKernels, BudgetTooSmall, NoDevice, NoNode, NothingToResume, NoWorker, OtherProgram
from autotune_cli.results.identity import environment_fields, environment_key
from autotune_cli.results.runs import write_run
from autotune_cli.tuning.cluster.calls import about
from autotune_cli.tuning.cluster.noted_progress import NotedProgress
from autotune_cli.tuning.cluster.remote import RemoteBench, Seat
from autotune_cli.tuning.cluster.tables import Table, difference, files, one_file, tables
from autotune_cli.tuning.messages import ReadyToMeasure
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.request import Request, RunOutcome
from autotune_cli.tuning.run import TuningRun, check_memory, identities, run_state
from autotune_cli.tuning.run_state import budget_end
from autotune_cli.tuning.selection import planned_workloads
from autotune_cli.worker.failures import OutOfTime, Stopped, WorkerLost
from autotune_cli.worker.protocol import WorkerSettings

# Digits that tell the environments of one device apart in the names of results.
_HEX = 6
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


class Cluster(Protocol):
    """Where workers can be; see :class:`autotune_cli.tuning.cluster.ray_cluster.RayCluster`."""

    def seats(self, device: Literal["cuda", "cpu"], settings: WorkerSettings) -> Sequence[Seat]:
        """A place for each worker."""

    def close(self) -> None:
        """End what runs on the nodes."""


def tune_on_cluster(
    request: Request,
    progress: TuneProgress,
    stop: threading.Event,
    join: Callable[[str, threading.Event], Cluster] | None = None,
) -> RunOutcome:
    """Tune every workload on the nodes of the cluster ``request.cluster``, and write the result file.

    Nodes on which timings depend on something else tune a table of their own. What a node was doing that is lost in the
    middle is done by another one of its table. Else as :func:`autotune_cli.tuning.run.tune`.

    Args:
        join: joins the cluster of an address; None: a Ray cluster's.

    Raises:
        MissingPackage, NoCluster, NoNode, OtherProgram: there is no cluster, or none of its nodes can measure.
        AutotuneError, KeyboardInterrupt: see :func:`autotune_cli.tuning.run.tune`.
    """
    assert request.cluster is not None
    begin = time.monotonic()
    try:
        cluster = (join or _join_ray)(request.cluster, stop)
        try:
            return _ClusterRun(request, progress, stop, begin).run(cluster)
        finally:
            cluster.close()
    except OutOfTime:
        assert request.budget_s is not None
        raise BudgetTooSmall(budget_s=request.budget_s, detail="starting and planning take longer") from None
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        progress.end()


def _join_ray(address: str, stop: threading.Event) -> Cluster:
    from autotune_cli.tuning.cluster.ray_cluster import RayCluster

    return RayCluster(address, stop)


def _kind(ready: ReadyToMeasure) -> str:
    """What is equal for the GPUs of a node that are alike."""
    return f"{ready.environment.memory_bytes} {environment_fields(ready.environment)}"


class _ClusterRun:
    def __init__(self, request: Request, progress: TuneProgress, stop: threading.Event, begin: float) -> None:
        self._request = request
        self._progress = progress
        self._stop = stop
        self._begin = begin
        self._end = budget_end(request, begin)
        self._without: list[str] = []
        """Why workers are left out."""

    def run(self, cluster: Cluster) -> RunOutcome:
        settings = self._request.worker
        seats = cluster.seats("cpu" if settings.device == "cpu" else "cuda", settings)
        started = self._one_a_card(self._each(self._start, seats))
        # A node may have several kinds of GPUs.
        alike: dict[tuple[str, str], list[tuple[RemoteBench, ReadyToMeasure]]] = {}
        for bench, ready in started:
            alike.setdefault((bench.host, _kind(ready)), []).append((bench, ready))
        found = tables(self._each(self._plan, list(alike.values())))
        if not found:
            raise NoNode(detail="; ".join(self._without))
        for reason in self._without:
            self._progress.note(f"{reason}; the run goes on without it")
        first = found[0]
        self._progress.note(f"workers: {len(first.benches)}, on {', '.join(first.nodes)}")
        with contextlib.ExitStack() as stack:
            shared = [
                [self._run(first, table, own_file=number > 0) for table in file]
                for number, file in enumerate(files(found))
            ]
            return self._outcome(self._measured(shared, stack))

    def _each(self, work: Callable[[_Given], _Found], given: Sequence[_Given]) -> list[_Found]:
        """What comes of the work for each, side by side; without those whose worker is lost, or too late.

        Raises:
            OutOfTime: all are too late.
        """
        found: list[_Found] = []
        late: OutOfTime | None = None
        # The workers are other machines' processes: none hangs on these threads.
        with ThreadPoolExecutor(max(1, len(given))) as pool:
            for future in [pool.submit(work, each) for each in given]:
                try:
                    found.append(future.result())
                except OutOfTime as error:
                    late = error
                except WorkerLost as error:
                    self._without.append(str(error))
        if late is not None and not found:
            raise late
        return found

    def _start(self, seat: Seat) -> tuple[RemoteBench, ReadyToMeasure]:
        theirs, ours = seat.open(), about()
        if theirs != ours:
            raise OtherProgram(node=seat.node, theirs=str(theirs), ours=str(ours))
        bench = RemoteBench(seat, self._stop)
        try:
            return bench, bench.start(self._end)
        except (NoDevice, NoWorker) as error:
            raise WorkerLost(f"{seat.node}: {error}") from error
        except BadKernels as error:
            raise BadKernels(path=error.values["path"], detail=f"on {seat.node}: {error.values['detail']}") from error

    def _one_a_card(
        self, started: Sequence[tuple[RemoteBench, ReadyToMeasure]]
    ) -> list[tuple[RemoteBench, ReadyToMeasure]]:
        """Without workers that see the GPU of another one: both would measure each other's load."""
        cards: dict[str, tuple[RemoteBench, ReadyToMeasure]] = {}
        for number, (bench, ready) in enumerate(started):
            card = ready.card or str(number)
            if card in cards:
                self._without.append(f"{bench.host}: two workers were given one GPU, {card}")
            cards.setdefault(card, (bench, ready))
        return list(cards.values())

    def _plan(self, workers: Sequence[tuple[RemoteBench, ReadyToMeasure]]) -> Table:
        (first, ready), *_ = workers
        state = run_state(self._request, self._progress, self._stop, ready, self._begin)
        check_memory(state)
        planned = planned_workloads(self._request, first, self._end)
        return Table(tuple(bench for bench, _ in workers), ready, planned, identities(state, planned))

    def _run(self, first: Table, table: Table, own_file: bool) -> TuningRun:
        request, progress = self._request, self._progress
        if table is not first:
            nodes = ", ".join(table.nodes)
            progress.note(f"{nodes}: a table of its own: {difference(first, table)}")
            progress = NotedProgress(progress, nodes)
            if own_file:
                request = replace(request, name=f"{request.name}-{environment_key(table.ready.environment)[:_HEX]}")
        state = run_state(request, progress, self._stop, table.ready, self._begin)
        return TuningRun(state, table.planned, table.identities, table.benches)

    def _measured(self, shared: list[list[TuningRun]], stack: contextlib.ExitStack) -> list[list[TuningRun]]:
        """Measure all tables side by side, and return those that there were any measurements for.

        Raises:
            NothingToResume: there are none.
        """
        runs = [run for file in shared for run in file]
        without: dict[int, NothingToResume] = {}

        def measure(run: TuningRun, kept: contextlib.ExitStack) -> None:
            try:
                run.measure(kept)
            except NothingToResume as error:
                without[id(run)] = error
            except BaseException:
                self._stop.set()
                raise

        with ThreadPoolExecutor(len(runs)) as pool:
            done = [pool.submit(measure, run, stack.enter_context(contextlib.ExitStack())) for run in runs]
        for future in sorted(done, key=lambda future: isinstance(future.exception(), Stopped)):
            future.result()
        if len(without) == len(runs):
            raise without[id(runs[0])]
        for run in runs:
            if id(run) in without:
                self._progress.note(f"{', '.join(run.hosts)}: left out, {without[id(run)]}")
        return [left for file in shared if (left := [run for run in file if id(run) not in without])]

    def _outcome(self, shared: list[list[TuningRun]]) -> RunOutcome:
        """Write each file, and say what the first has come to."""
        # All journals are needed to go on, as each table is looked for then.
        keep = any(run.state.interrupted for file in shared for run in file)
        outcomes: list[RunOutcome] = []
        for file in shared:
            first = file[0]
            if first.state.request.use_cache or len(file) == 1:
                written = [run.written() for run in file]
                path, run = written[0][0], one_file([each for _, each in written])
            else:
                assert first.journal is not None
                path = first.journal.run_path
                run = write_run(path, one_file([each.file for each in file]))
            done = [each.outcome(path, run, keep) for each in file]
            lost = [outcome.lost for outcome in done if outcome.lost is not None]
            outcomes.append(
                RunOutcome(
                    path,
                    run,
                    any(outcome.interrupted for outcome in done),
                    max(outcome.measured for outcome in done),
                    next((outcome.journal for outcome in done if outcome.journal is not None), None),
                    "; ".join(lost) if lost else None,
                )
            )
        first_file, *others = outcomes
        for other in others:
            self._progress.note(f"a table of its own: {len(other.run.workloads)} results in {other.path}")
        lost = [outcome.lost for outcome in outcomes if outcome.lost is not None]
        interrupted = any(outcome.interrupted for outcome in outcomes)
        return replace(first_file, interrupted=interrupted, lost="; ".join(lost) if lost else None)
