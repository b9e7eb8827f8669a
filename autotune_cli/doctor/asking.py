"""A question to the worker, whose end is an answer, too."""

from __future__ import annotations

from typing import Any

from autotune_cli.errors import AutotuneError
from autotune_cli.worker.failures import WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import Job

# An import that takes longer hangs; FlashInfer's takes some seconds from a cold disk.
_PROBE_S = 120.0


def asked(worker: Worker, job: Job) -> tuple[Any, str | None]:
    """The job's answer, or why there is none. After an end of the process the next job gets another one."""
    try:
        return worker.ask(job, _PROBE_S), None
    except WorkerRaised as error:
        return None, str(error).partition("\n")[0]
    except (WorkerDied, WorkerTimeout) as error:
        return None, f"the process {error}"
    except AutotuneError as error:
        return None, str(error)
