"""Has a worker record a path: a fault of a kernel ends that process, not the program."""

from __future__ import annotations

from collections.abc import Callable

from autotune_cli.errors import NoDevice
from autotune_cli.profiling.errors import CannotRun, PathFailed
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.recording.job import RecordPath
from autotune_cli.profiling.recording.recorded import LiveRun
from autotune_cli.worker import process
from autotune_cli.worker.failures import WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.worker.protocol import WorkerSettings


def record_in_worker(
    spec: PathSpec,
    folder: str,
    settings: WorkerSettings,
    gpu: str,
    timeout_s: float,
    report: Callable[[str, str], None],
) -> LiveRun:
    """What the worker recorded.

    Args:
        folder: where the traces go.
        gpu: the one that the worker sees, as ``CUDA_VISIBLE_DEVICES`` names it.
        timeout_s: seconds that a step of the work may take; builds have a limit of their own.
        report: told what is going on: a step's name and its subject.

    Raises:
        PathFailed: the worker crashed, raised or took too long.
        CannotRun: torch sees no GPU.
    """
    worker = process.Worker(settings, gpu)
    try:
        run: LiveRun = worker.ask(RecordPath(spec, folder), timeout_s, report)
        return run
    except (WorkerDied, WorkerTimeout) as error:
        where = " ".join(worker.phase).strip()
        raise PathFailed(detail=f"{where}: {error}" if where else str(error)) from error
    except NoDevice as error:
        raise CannotRun(detail=str(error)) from error
    except WorkerRaised as error:
        raise PathFailed(detail=str(error).splitlines()[0]) from error
    finally:
        worker.kill()
