"""The journal of a run, new or taken over, and the file that the run ends in."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from autotune_cli.errors import BadFile, NothingToResume
from autotune_cli.results.files import read_run
from autotune_cli.results.identity import explain
from autotune_cli.results.journal import Journal, find_resumable
from autotune_cli.results.records import JournalHeader, JournalState
from autotune_cli.results.runs import new_run_path
from autotune_cli.tuning.request import Request


def open_journal(request: Request, header: JournalHeader, now: datetime) -> tuple[Journal, JournalState | None]:
    """A new journal; or with ``resume`` the newest unfinished one of that name, and what it knows.

    Raises:
        NothingToResume: there is none, or it was begun under other conditions, which are named.
    """
    if not request.resume:
        return Journal.create(request.root, header, now), None
    path = find_resumable(request.root, request.name)
    if path is None:
        raise NothingToResume(detail=f"no unfinished run of {request.name!r} in {request.root / 'runs'}")
    journal, known = Journal.resume(path)
    why = _why_not(known.header, header)
    if why is not None:
        journal.close()
        raise NothingToResume(detail=f"{journal.path.name} was begun {why}")
    return journal, known


def run_path(request: Request, journal: Journal, created: datetime) -> Path:
    """Where a run without the cache is written."""
    if request.resume:
        # An interrupted run has written what it had; the same run now completes that file.
        path = journal.path.with_name(journal.path.name.removeprefix(".").removesuffix("journal") + "json")
        with contextlib.suppress(BadFile):
            if path.exists() and not read_run(path).complete:
                return path
    return new_run_path(request.root, request.name, created)


def _why_not(begun: JournalHeader, now: JournalHeader) -> str | None:
    """How the run that was begun differs from the one that is asked for; None if it doesn't."""
    if begun.kind != now.kind:
        return f"with {'--no-cache' if begun.kind == 'run' else '--cache'}; give it again"
    changes: list[str] = []
    for key, fields in now.workloads.items():
        stored = begun.workloads.get(key)
        changes += ["another suite"] if stored is None else explain(stored, fields)
    if set(begun.workloads) - set(now.workloads):
        changes.append("another suite")
    return f"under other conditions: {'; '.join(dict.fromkeys(changes))}" if changes else None
