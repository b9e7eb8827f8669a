"""A file of captured scores, read in a worker: the parent imports no torch, and what is in it is somebody's."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.errors import BadFile
from autotune_cli.kernels.base import CapturedScores
from autotune_cli.kernels.family import family
from autotune_cli.worker.failures import WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

# Gigabytes from a slow disk.
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class ReadScores:
    """For any worker. The line of what is wrong with the file, or what it holds."""

    operation: str
    path: str

    def __call__(self, context: object) -> CapturedScores | str:
        try:
            return family(self.operation).captured(self.path)
        except BadFile as error:
            return str(error.values["detail"])


def read_scores(operation: str, path: str) -> CapturedScores:
    """What a file holds, for workloads of this operation.

    Raises:
        BadFile: it can't be read, or holds no scores.
        NoWorker: see :meth:`autotune_cli.worker.process.Worker.start`.
    """
    worker = Worker(WorkerSettings("cpu"))
    try:
        found: CapturedScores | str = worker.ask(ReadScores(operation, path), _TIMEOUT_S)
    except (WorkerDied, WorkerTimeout, WorkerRaised) as error:
        raise BadFile(path=path, detail=f"can't be read: {str(error).splitlines()[0]}") from error
    finally:
        worker.kill()
    if isinstance(found, str):
        raise BadFile(path=path, detail=found)
    return found
