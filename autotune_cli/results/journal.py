"""A run in progress on disk, so that one killed at any moment resumes: ``runs/.<name>.<timestamp>.journal``.

JSON, one record a line (:mod:`autotune_cli.results.records`), only ever appended to. It also reserves the name of the
run's own file, ``runs/<name>.<timestamp>.json``: whoever resumes it writes that same file. The owner holds an exclusive
``flock`` on the file as long as it lives, so a journal that can be locked belongs to nobody. Processes made by
``fork`` without ``exec`` share the lock and would keep it alive: start workers with ``spawn``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel

from autotune_cli.errors import BadFile, NothingToResume
from autotune_cli.reading import MOST_BYTES
from autotune_cli.results.files import cannot_write, dump_line, make_folder, read_file, sync_folder
from autotune_cli.results.records import (
    Done,
    JournalHeader,
    JournalState,
    Round,
    RoundRecord,
    Vetted,
    read_header,
    read_state,
)
from autotune_cli.results.runs import RUNS, check_name, numbered, time_stamp
from autotune_cli.results.schema import CandidateResult, WorkloadResult

_SUFFIX = ".journal"
_JOURNAL = re.compile(r"\.(?P<name>.+)\.(?P<stamp>\d{8}_\d{6})(?:\.(?P<number>[1-9]\d*))?\.journal", re.ASCII)
# find_resumable() holds a shared lock for microseconds; an owner holds its lock for the whole run.
_LOCK_TRIES, _LOCK_WAIT_S = 20, 0.01


class Journal:
    """A journal that this process owns. Any thread may append.

    Leaving ``with`` closes it and keeps the file for resuming; :meth:`finish` removes it.
    """

    def __init__(self, path: Path, descriptor: int, end: int) -> None:
        """Use :meth:`create` or :meth:`resume`."""
        self.path = path
        self._descriptor = descriptor
        self._end = end
        self._lock = threading.Lock()

    @property
    def run_path(self) -> Path:
        """Of the file in which a run without the cache ends; nobody else is given it."""
        return self.path.with_name(f"{self.path.name.removeprefix('.').removesuffix(_SUFFIX)}.json")

    @classmethod
    def create(cls, root: Path, header: JournalHeader, now: datetime) -> Journal:
        """Start the journal of a run, under a name that no journal and no run has. What runs left behind that were
        killed before they had a header is removed.

        Raises:
            BadName: see :func:`autotune_cli.results.runs.check_name`.
            CannotWrite: a full disk, a read-only folder ...
        """
        check_name(header.name)
        folder = root / RUNS
        try:
            make_folder(folder)
            _remove_unbegun(folder)
            path, descriptor = _create(folder, f"{header.name}.{time_stamp(now)}")
        except OSError as error:
            cannot_write(folder, error)
        journal = cls(path, descriptor, 0)
        try:
            journal._append(header)
            sync_folder(folder)
        except OSError as error:
            journal.finish()
            cannot_write(path, error)
        except BaseException:
            journal.finish()
            raise
        return journal

    @classmethod
    def resume(cls, path: Path) -> tuple[Journal, JournalState]:
        """Take over a journal that nobody owns; a last line that is cut off is removed.

        Raises:
            NothingToResume: it is gone, or a live process owns it.
            BadFile, NewerSchema: see :func:`load`.
            CannotWrite: it can be read but not written.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NothingToResume(detail=f"{path} is gone") from error
        except OSError as error:
            cannot_write(path, error)
        try:
            if not _lock_exclusively(descriptor):
                raise NothingToResume(detail=f"another process is running {path}")
            if not _is_at(descriptor, path):
                raise NothingToResume(detail=f"{path} is gone")
            state = load(path)
            os.ftruncate(descriptor, state.end)
        except OSError as error:
            os.close(descriptor)
            cannot_write(path, error)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, state.end), state

    def vetted(self, workload: str, candidate: CandidateResult) -> None:
        """Record a candidate's vetting; on disk when this returns, as with the two below.

        Raises:
            CannotWrite: a full disk ... The journal stays whole and lacks this record.
            ValueError: the journal is closed.
        """
        self._append(Vetted(workload=workload, candidate=candidate))

    def round(self, workload: str, record: RoundRecord) -> None:
        """Record a round of a race. Raises as :meth:`vetted`."""
        self._append(Round(workload=workload, round=record))

    def done(self, result: WorkloadResult) -> None:
        """Record a workload's final result. Raises as :meth:`vetted`."""
        self._append(Done(result=result))

    def finish(self) -> None:
        """Remove the journal: the result file is written."""
        with self._lock:
            if self._descriptor >= 0:
                # Before the lock is given back, so that nobody resumes a finished run.
                with suppress(OSError):
                    self.path.unlink()
                self._close()

    def close(self) -> None:
        """Give the journal up; its file stays, to be resumed."""
        with self._lock:
            self._close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, record: BaseModel) -> None:
        data = dump_line(record).encode("utf-8") + b"\n"
        with self._lock:
            if self._descriptor < 0:
                raise ValueError(f"{self.path} is closed")
            try:
                written = 0
                while written < len(data):  # one write, but a nearly full disk takes a part
                    written += os.write(self._descriptor, data[written:])
                # 0.2 ms on ext4 and an NVMe disk; a round takes a hundred times that.
                os.fsync(self._descriptor)
                self._end += len(data)
            except OSError as error:
                self._drop_tail()
                cannot_write(self.path, error)
            except BaseException:  # Ctrl-C in the middle: what follows must not stand behind half a line
                self._drop_tail()
                raise

    def _drop_tail(self) -> None:
        """Back to the last whole record; if even that fails, no more records, as they would follow garbage."""
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self._close()


def find_resumable(root: Path, name: str) -> Path | None:
    """The newest journal of a name that no live process owns and that has a header, or None."""
    folder = root / RUNS
    try:
        entries = os.listdir(folder)
    except OSError:
        return None
    matches = [match for entry in entries if (match := _JOURNAL.fullmatch(entry)) and match["name"] == name]
    matches.sort(key=lambda match: (match["stamp"], int(match["number"] or 1)), reverse=True)
    return next((folder / match[0] for match in matches if _is_resumable(folder / match[0])), None)


def load(path: Path) -> JournalState:
    """What a journal holds; its owner may be alive.

    Raises:
        NewerSchema: written by a newer version.
        BadFile: unreadable, no header, or garbage before the last line; the message says in which line.
    """
    return read_state(read_file(path), path)


def _create(folder: Path, stem: str) -> tuple[Path, int]:
    """An empty journal, locked."""
    for candidate in numbered(stem):
        path = folder / f".{candidate}{_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileExistsError:
            continue
        try:
            # A shared lock of find_resumable() may be in the way for a moment, an exclusive one never is for long.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Between the two lines above another process may have taken it for one that was left behind.
            if _is_at(descriptor, path):
                # Looked at under the lock: an owner removes its journal only once its run is there.
                if not os.path.lexists(folder / f"{candidate}.json"):
                    return path, descriptor
                path.unlink()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise AssertionError("numbered() never ends")


def _remove_unbegun(folder: Path) -> None:
    """Remove journals without a whole first line that nobody owns."""
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
        if not begun and _is_at(descriptor, path):
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


def _lock_exclusively(descriptor: int) -> bool:
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


def _is_at(descriptor: int, path: Path) -> bool:
    """Is it still the file of that name? Its owner may have removed it before giving the lock back."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
