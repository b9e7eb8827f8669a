"""Names of runs: ``runs/<name>.<YYYYmmdd_HHMMSS>.json``, and ``....2.json`` for the second one in a second.

A run's journal, a hidden file beside it, reserves the name: see :meth:`autotune_cli.results.journal.Journal.create`.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from autotune_cli.errors import BadFile, BadName
from autotune_cli.results.atomic import remove_temporaries, write_atomic
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.schema import RunFile

RUNS = "runs"
# A file of FlashInfer's own choices is called so, beside that of a result.
FLASHINFER_SUFFIX = ".flashinfer"
MAX_NAME = 100
# File systems allow 255 bytes a name; the rest is for time, number, suffixes and temporary names.
MAX_NAME_BYTES = 180

_RUN = re.compile(r"(?P<name>.+)\.(?P<stamp>\d{8}_\d{6})(?:\.(?P<number>[1-9]\d*))?\.json", re.DOTALL | re.ASCII)


class RunName(NamedTuple):
    """The parts of a run's file name."""

    name: str
    stamp: str
    number: int
    """1 for the first of its second, which the file name doesn't show."""


def check_name(name: str) -> None:
    """Refuse a result name that would leave its folder, hide its file or not fit.

    Raises:
        BadName: with the reason.
    """
    detail = None
    if not name:
        detail = "the name is empty"
    elif "/" in name or "\\" in name:
        detail = "a name, not a path: no slash"
    elif name.startswith("."):
        detail = "must not start with a dot"
    elif name.endswith(FLASHINFER_SUFFIX):
        detail = f"must not end with '{FLASHINFER_SUFFIX}', as files of FlashInfer's choices do"
    elif ".." in name:
        detail = "must not contain '..'"
    elif any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        detail = "must not contain control characters"
    elif name != name.strip():
        detail = "must not start or end with a space"
    elif len(name) > MAX_NAME:
        detail = f"{len(name)} characters, at most {MAX_NAME} are allowed"
    elif len(name.encode()) > MAX_NAME_BYTES:
        detail = f"{len(name.encode())} bytes, at most {MAX_NAME_BYTES} are allowed"
    if detail is not None:
        raise BadName(name=name, detail=detail)


def time_stamp(now: datetime) -> str:
    """``20261121_093012``."""
    return now.strftime("%Y%m%d_%H%M%S")


def numbered(stem: str) -> Iterator[str]:
    """``stem``, ``stem.2``, ``stem.3`` ..."""
    yield stem
    for number in itertools.count(2):
        yield f"{stem}.{number}"


def write_run(path: Path, run: RunFile) -> RunFile:
    """Write a run to the name that its journal reserves, and return what is there now.

    A run that was killed after it was written, and is resumed, finds the same results there, and leaves them alone.

    Raises:
        CannotWrite: see :func:`autotune_cli.results.atomic.write_atomic`.
    """
    # No other process writes a file of this name, so what a killed writer left is not in use.
    remove_temporaries(path)
    with suppress(BadFile):
        written = read_run(path)
        if written.complete == run.complete and written.workloads == run.workloads:
            return written
    write_atomic(path, dump_run(run))
    return run


def run_name(path: Path) -> RunName | None:
    """The parts of a run's file name; None if it isn't one."""
    match = _RUN.fullmatch(path.name)
    if match is None or path.name.startswith("."):
        return None
    return RunName(match["name"], match["stamp"], int(match["number"] or 1))


def newest_runs(root: Path, name: str | None = None) -> list[Path]:
    """The runs of a name (None: of all names), newest first by the time in their names; empty without a folder."""
    try:
        entries = os.listdir(root / RUNS)
    except OSError:
        return []
    found = [(parts, root / RUNS / entry) for entry in entries if (parts := run_name(Path(entry)))]
    chosen = [(parts, path) for parts, path in found if name is None or parts.name == name]
    chosen.sort(key=lambda item: (item[0].stamp, item[0].number, item[0].name), reverse=True)
    return [path for _, path in chosen]


def latest(root: Path, name: str | None = None) -> Path | None:
    """The newest run of a name (None: of any)."""
    return next(iter(newest_runs(root, name)), None)


def previous(root: Path, name: str | None = None) -> Path | None:
    """The run before :func:`latest` that has the same name as that."""
    newest = latest(root, name)
    parts = run_name(newest) if newest else None
    return next(iter(newest_runs(root, parts.name)[1:]), None) if parts else None
