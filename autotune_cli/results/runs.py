"""Names of runs: ``runs/<name>.<YYYYmmdd_HHMMSS>.json``, and ``....2.json`` for the second one in a second.

A name is reserved by an empty hidden file beside it, so that the run itself appears whole or not at all.
"""

from __future__ import annotations

import itertools
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from autotune_cli.errors import BadName
from autotune_cli.results.files import cannot_write, dump_run, make_folder, write_atomic
from autotune_cli.results.schema import RunFile

RUNS = "runs"
MAX_NAME = 100
# File systems allow 255 bytes a name; the rest is for time, number, suffixes and temporary names.
MAX_NAME_BYTES = 180

_RUN = re.compile(r"(?P<name>.+)\.(?P<stamp>\d{8}_\d{6})(?:\.(?P<number>[1-9]\d*))?\.json", re.DOTALL | re.ASCII)
_RESERVED = ".reserved"
# A reservation outlives its run only if that was killed. Its second is over, so removing it late is safe.
_RESERVED_S = 24 * 3600.0


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


def new_run_path(root: Path, name: str, now: datetime) -> Path:
    """Reserve the path of a new run; no other process is given the same one. Write it with :func:`write_run`.

    Raises:
        BadName: see :func:`check_name`.
        CannotWrite: the folder can't be made or written.
    """
    check_name(name)
    folder = root / RUNS
    try:
        make_folder(folder)
        _remove_stale_reservations(folder)
        for stem in numbered(f"{name}.{time_stamp(now)}"):
            path = folder / f"{stem}.json"
            if _reserve(path):
                return path
    except OSError as error:
        cannot_write(folder, error)
    raise AssertionError("numbered() never ends")


def release(path: Path) -> None:
    """Give a path of :func:`new_run_path` back; the reservation of one that was written isn't needed either."""
    with suppress(OSError):
        _reservation(path).unlink()


def write_run(path: Path, run: RunFile) -> None:
    """Write a run to the path that was reserved for it.

    Raises:
        CannotWrite: see :func:`autotune_cli.results.files.write_atomic`. The path stays reserved.
    """
    write_atomic(path, dump_run(run))
    release(path)


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


def _reservation(path: Path) -> Path:
    return path.with_name(f".{path.name}{_RESERVED}")


def _reserve(path: Path) -> bool:
    reservation = _reservation(path)
    try:
        os.close(os.open(reservation, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    # Looked at after reserving: a writer removes its reservation only once its run is there.
    if os.path.lexists(path):
        release(path)
        return False
    return True


def _remove_stale_reservations(folder: Path) -> None:
    old = time.time() - _RESERVED_S
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(_RESERVED):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < old:
                    os.unlink(entry.path)
