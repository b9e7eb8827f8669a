"""What FlashInfer's own autotuner chooses in a run: a file for each worker while it lasts, and one beside its result.

Only FlashInfer writes a worker's file, and only this program the other, whole and under a lock: whatever number of
workers and of runs there is, none reads half of a file or loses another's choices.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autotune_cli.comparing.foreign.flashinfer_cache import METADATA, FlashinferCache
from autotune_cli.errors import CannotWrite
from autotune_cli.reading import Unreadable, decode, parse_json, read_bytes
from autotune_cli.results.atomic import make_folder, write_atomic
from autotune_cli.results.cache import LOCK_TIMEOUT_S
from autotune_cli.results.runs import FLASHINFER_SUFFIX
from autotune_cli.results.schema import FlashinferChoices, WorkloadResult
from autotune_cli.worker.flashinfer_tuner import LIBRARY
from autotune_cli.worker.protocol import WorkerSettings

# Metadata that agrees with any other, in FlashInfer's files.
_ANY = "*"
# Not choices, and of one writer: the sum of a file's content.
_GENERATION = "_generation"
_MOST_BYTES = 64 << 20
# A candidate of such a status has never run.
_NEVER_RAN = ("unsupported", "unavailable", "skipped")


def beside(path: Path) -> Path:
    """``cache/llama.flashinfer.json`` of ``cache/llama.json``; of a run's file likewise."""
    return path.with_name(f"{path.stem}{FLASHINFER_SUFFIX}.json")


class FlashinferFiles:
    """The files of a run's workers; gone when it is closed.

    Args:
        known: choices of earlier runs, which the workers begin with; None: they begin without. What is there and can't
            be read is no choice.
    """

    def __init__(self, known: Path | None) -> None:
        self._known: dict[str, Any] = {} if known is None else _read(known) or {}
        self._folder: Path | None = None
        with contextlib.suppress(OSError):
            self._folder = Path(tempfile.mkdtemp(prefix="autotune-flashinfer-"))

    def close(self) -> None:
        """Remove them, when the workers are gone."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def settings(self, settings: WorkerSettings, worker: int) -> WorkerSettings:
        """A worker's, with its file. Each process of the worker goes on with what the one before it has chosen."""
        if self._folder is None:
            return settings
        path = self._folder / f"{worker}.json"
        if self._known:
            with contextlib.suppress(OSError):
                path.write_text(json.dumps(self._known), encoding="utf-8")
        return replace(settings, flashinfer_choices=str(path))

    def save(
        self, path: Path, root: Path, results: Iterable[WorkloadResult], note: Callable[[str], None]
    ) -> FlashinferChoices | None:
        """Join what the workers' files hold, into a file of the run's.

        Args:
            path: where it belongs; written only if there is a choice.
            root: the folder that the name in the run's record begins at.
            results: those of the run. None that was measured in it and is FlashInfer's: nothing was tuned.
            note: told what the user should know.

        Raises:
            CannotWrite: see :func:`autotune_cli.results.atomic.write_atomic`; or another process doesn't give it back.
        """
        found = [] if self._folder is None else [_read(each) for each in sorted(self._folder.glob("*.json"))]
        joined = join(document for document in found if document)
        choices = _choices(joined)
        if not choices:
            return FlashinferChoices() if any(map(_ran_flashinfer, results)) else None
        old = _choices(self._known)
        new = sum(old.get(key) != value for key, value in choices.items())
        _write(path, joined, note)
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        return FlashinferChoices(file=name, choices=len(choices), new=new)


def join(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of several: of equal keys the later one's choice counts, and of metadata that differs only the later
    one's choices, as FlashInfer uses none of another environment.
    """
    joined: dict[str, Any] = {}
    for document in documents:
        same = not joined or not metadata_differences(joined, document)
        records = {
            key: {**joined.get(key, {}), **value}
            for key, value in document.items()
            if same and key.startswith("_") and isinstance(value, dict) and isinstance(joined.get(key, {}), dict)
        }
        joined = {**(joined if same else {}), **document, **records}
    joined.pop(_GENERATION, None)
    return joined


def metadata_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of the metadata in which two documents differ."""
    ours, theirs = a.get(METADATA, {}), b.get(METADATA, {})
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return [METADATA]
    names = dict.fromkeys([*ours, *theirs])
    return [
        name for name in names if ours.get(name) != theirs.get(name) and _ANY not in (ours.get(name), theirs.get(name))
    ]


def _write(path: Path, document: dict[str, Any], note: Callable[[str], None]) -> None:
    try:
        make_folder(path.parent)
        lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_S)
        with lock:
            stored = _read(path)
            if stored is not None and (differ := metadata_differences(stored, document)):
                note(f"{path}: FlashInfer's choices of another environment ({', '.join(differ)}) are replaced")
            write_atomic(path, json.dumps(join([*([stored] if stored else []), document]), indent=2) + "\n")
    except Timeout as error:
        detail = f"another process has held its lock for {LOCK_TIMEOUT_S:g} s"
        raise CannotWrite(path=path, detail=detail) from error
    except OSError as error:
        raise CannotWrite(path=path, detail=(error.strerror or str(error)).lower()) from error


def _read(path: Path) -> dict[str, Any] | None:
    """A file of FlashInfer's; None: there is none that can be read."""
    try:
        document = parse_json(decode(read_bytes(path, _MOST_BYTES, "file of choices", pipes=False)))
    except Unreadable:
        return None
    return document if isinstance(document, dict) and FlashinferCache().recognises(document, path) else None


def _choices(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _ran_flashinfer(result: WorkloadResult) -> bool:
    return not result.reused and any(
        candidate.backend.split(".")[0] == LIBRARY and candidate.status not in _NEVER_RAN
        for candidate in result.candidates
    )
