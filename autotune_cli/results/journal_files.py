"""Journals in ``runs/``: their names, their locks, and which of them can be resumed.

The owner of a journal holds an exclusive ``flock`` on its file as long as it lives, so a journal that can be locked
belongs to no process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autotune_cli.errors import BadFile
from autotune_cli.reading import MOST_BYTES
from autotune_cli.results.records import read_header
from autotune_cli.results.runs import RUNS, numbered

SUFFIX = ".journal"
_JOURNAL = re.compile(r"\.(?P<name>.+)\.(?P<stamp>\d{8}_\d{6})(?:\.(?P<number>[1-9]\d*))?\.journal", re.ASCII)
# resumable() holds a shared lock for microseconds; an owner holds its lock for the whole run.
_LOCK_TRIES, _LOCK_WAIT_S = 20, 0.01


def resumable(root: Path, name: str) -> Iterator[Path]:
    """The journals of a name that no live process owns and that have a header, the newest first."""
    folder = root / RUNS
    try:
        entries = os.listdir(folder)
    except OSError:
        return
    matches = [match for entry in entries if (match := _JOURNAL.fullmatch(entry)) and match["name"] == name]
    matches.sort(key=lambda match: (match["stamp"], int(match["number"] or 1)), reverse=True)
    yield from (folder / match[0] for match in matches if _is_resumable(folder / match[0]))


def find_resumable(root: Path, name: str) -> Path | None:
    """The newest of :func:`resumable`, or None."""
    return next(resumable(root, name), None)


def create_locked(folder: Path, stem: str) -> tuple[Path, int]:
    """An empty journal, locked, under a name that no journal and no run has.

    Returns:
        Its path, and the descriptor that holds the lock.

    Raises:
        OSError: a full disk, a read-only folder ...
    """
    for candidate in numbered(stem):
        path = folder / f".{candidate}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileExistsError:
            continue
        try:
            # A shared lock of resumable() may be in the way for a moment, an exclusive one never is for long.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Between the two lines above another process may have taken it for one that was left behind.
            if is_at(descriptor, path):
                # Looked at under the lock: an owner removes its journal only once its run is there.
                if not os.path.lexists(folder / f"{candidate}.json"):
                    return path, descriptor
                path.unlink()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise AssertionError("numbered() never ends")


def remove_unbegun(folder: Path) -> None:
    """Remove journals without a whole first line that no process owns.

    Raises:
        OSError: the folder can't be read.
    """
    for entry in os.listdir(folder):
        if _JOURNAL.fullmatch(entry):
            with suppress(OSError):
                _remove_if_unbegun(folder / entry)


def _remove_if_unbegun(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(descriptor, "rb", closefd=False) as stream:
            begun = stream.readline().endswith(b"\n")
        if not begun and is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


def _is_resumable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would have it wait
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several may look at once
        with open(descriptor, "rb", closefd=False) as stream:
            read_header(stream.readline(MOST_BYTES), path)
    except (OSError, BadFile):
        return False  # owned, or killed before its first line was whole
    finally:
        os.close(descriptor)
    return True


def lock_exclusively(descriptor: int) -> bool:
    """Take over a journal; False: another process owns it.

    Raises:
        OSError: the file can't be locked at all.
    """
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            time.sleep(_LOCK_WAIT_S if attempt < _LOCK_TRIES - 1 else 0.0)
        else:
            return True
    return False


def is_at(descriptor: int, path: Path) -> bool:
    """Is it still the file of that name? Its owner may have removed it before giving the lock back."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
