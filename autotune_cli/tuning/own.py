"""A run and the users' files that take part in it: what a result depends on beside what was planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune_cli.errors import AutotuneError
from autotune_cli.fields import Message
from autotune_cli.kernels.own_files import CHANGED, file_digest
from autotune_cli.results.identity import FILE, UNSETTLED
from autotune_cli.results.schema import WorkloadResult
from autotune_cli.tuning.jobs import ListLoaded
from autotune_cli.tuning.measurer import Measurer
from autotune_cli.tuning.messages import LoadedFiles, PlannedWorkload
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.task import Interrupted
from autotune_cli.worker.failures import Stopped, WorkerDied, WorkerRaised, WorkerTimeout

# It reads and hashes what was loaded, as far as that has changed.
_TIMEOUT_S = 60.0


class OwnFiles:
    """Of a run; without any, every result is as it is."""

    def __init__(self, kernel_files: Sequence[str]) -> None:
        self._base = Path(kernel_files[0]).parent if kernel_files else None

    def digest(self, name: str) -> str:
        """Hash of a file as it is now, by its name in an identity; empty where there is none."""
        return file_digest(self._base / name) if self._base is not None else ""

    def settled(
        self, result: WorkloadResult, plan: PlannedWorkload, worker: Measurer, progress: TuneProgress
    ) -> WorkloadResult:
        """A result that names what was loaded while it was measured, also by names that no source shows; or, where
        that has changed meanwhile or isn't known, says so, and is never reused.

        Raises:
            Interrupted: the user wants to stop. The workload is not done, so a resumed run asks again.
        """
        if self._base is None:
            return result
        try:
            loaded: LoadedFiles = worker.ask(ListLoaded(), _TIMEOUT_S)
        except Stopped:
            raise Interrupted(_with(result, {UNSETTLED: "not known"})) from None
        except (WorkerDied, WorkerTimeout, WorkerRaised, AutotuneError):
            # Whatever it is, what was measured stays.
            fields = {UNSETTLED: "not known"}
        else:
            changed = loaded.source != plan.own_source or CHANGED in loaded.files.values()
            if changed:
                text = "{key}: a file of {fields.kernels} {changed}; its result will not be reused"
                progress.note(Message(text, key=result.key, changed=CHANGED))
            fields = {UNSETTLED: CHANGED} if changed else {FILE + name: text for name, text in loaded.files.items()}
        return _with(result, fields)


def _with(result: WorkloadResult, fields: Mapping[str, str]) -> WorkloadResult:
    return result.model_copy(update={"identity": {**result.identity, **fields}})
