"""A run in progress on disk, so that one killed at any moment resumes: ``runs/.<name>.<timestamp>.journal``.

JSON, one record a line (:mod:`autotune_cli.results.records`), only ever appended to. It also reserves the name of the
run's own file, ``runs/<name>.<timestamp>.json``: a resumed run writes that same file. Its owner holds a lock
(:mod:`autotune_cli.results.journal_files`). Processes made by ``fork`` without ``exec`` share the lock and would keep
it alive: start workers with ``spawn``.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel

from autotune_cli.errors import NothingToResume
from autotune_cli.results.atomic import cannot_write, make_folder, sync_folder
from autotune_cli.results.files import dump_line, read_file
from autotune_cli.results.journal_files import SUFFIX, create_locked, is_at, lock_exclusively, remove_unbegun
from autotune_cli.results.records import (
    BegunLine,
    DoneLine,
    JournalHeader,
    JournalState,
    RoundLine,
    RoundRecord,
    VettedLine,
    read_state,
)
from autotune_cli.results.runs import RUNS, check_name, time_stamp
from autotune_cli.results.schema import CandidateResult, WorkloadResult


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
        """Of the file in which a run without the cache ends; no other run is given it."""
        return self.path.with_name(f"{self.path.name.removeprefix('.').removesuffix(SUFFIX)}.json")

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
            remove_unbegun(folder)
            path, descriptor = create_locked(folder, f"{header.name}.{time_stamp(now)}")
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
        """Take over a journal that no process owns; a last line that is cut off is removed.

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
            if not lock_exclusively(descriptor):
                raise NothingToResume(detail=f"another process is running {path}")
            if not is_at(descriptor, path):
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

    def begun(self, workload: str, place: str) -> BegunLine:
        """Record that a workload is begun at a card; what another one has measured of it counts no more.

        Returns:
            The record.

        Raises:
            CannotWrite, ValueError: see :meth:`vetted`.
        """
        line = BegunLine(workload=workload, place=place)
        self._append(line)
        return line

    def vetted(self, workload: str, candidate: CandidateResult) -> None:
        """Record a candidate's vetting; it is in the file when this returns, and on disk with the next round or result.
        A run that is killed loses none; where the machine goes down, what is lost is vetted again.

        Raises:
            CannotWrite: a full disk ... The journal stays whole and lacks this record.
            ValueError: the journal is closed.
        """
        self._append(VettedLine(workload=workload, candidate=candidate), sync=False)

    def round(self, workload: str, record: RoundRecord) -> None:
        """Record a round of a race; it is on disk when this returns.

        Raises:
            CannotWrite, ValueError: see :meth:`vetted`.
        """
        self._append(RoundLine(workload=workload, round=record))

    def done(self, result: WorkloadResult) -> None:
        """Record a workload's final result; it is on disk when this returns.

        Raises:
            CannotWrite, ValueError: see :meth:`vetted`.
        """
        self._append(DoneLine(result=result))

    def finish(self) -> None:
        """Remove the journal: the result file is written."""
        with self._lock:
            if self._descriptor >= 0:
                # Before the lock is given back, so that no process resumes a finished run.
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

    def _append(self, record: BaseModel, sync: bool = True) -> None:
        data = dump_line(record).encode("utf-8") + b"\n"
        with self._lock:
            if self._descriptor < 0:
                raise ValueError(f"{self.path} is closed")
            try:
                written = 0
                while written < len(data):  # one write, but a nearly full disk takes a part
                    written += os.write(self._descriptor, data[written:])
                if sync:
                    # 0.2 ms on ext4 and an NVMe disk, several on others; a round takes over 50.
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


def load(path: Path) -> JournalState:
    """What a journal holds; its owner may be alive.

    Raises:
        NewerSchema: written by a newer version.
        BadFile: unreadable, no header, or garbage before the last line; the message says in which line.
    """
    return read_state(read_file(path), path)
