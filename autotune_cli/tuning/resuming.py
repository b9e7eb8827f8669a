"""The journal of a run that was killed, taken over."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.errors import BadFile, NothingToResume
from autotune_cli.fields import Field, Message, joined
from autotune_cli.reading import MOST_BYTES
from autotune_cli.results.identity import explain
from autotune_cli.results.journal import Journal
from autotune_cli.results.journal_files import find_resumable, resumable
from autotune_cli.results.records import JournalHeader, JournalState, read_header
from autotune_cli.tuning.request import Request


def resume_journal(request: Request, header: JournalHeader) -> tuple[Journal, JournalState]:
    """The newest unfinished journal of the request's name, and what it holds. On a cluster, where each kind of node has
    one, the newest that fits.

    Raises:
        NothingToResume: there is none, or it was begun under other conditions, which are named.
    """
    path = find_resumable(request.root, request.name)
    if request.cluster is not None:
        path = next((each for each in resumable(request.root, request.name) if _fits(each, header)), path)
    if path is None:
        raise NothingToResume(detail=f"no unfinished run of {request.name!r} in {request.root / 'runs'}")
    journal, known = Journal.resume(path)
    why = _why_not(known.header, header)
    if why is not None:
        journal.close()
        raise NothingToResume(detail=joined(" was begun ", (journal.path.name, why)))
    return journal, known


def _fits(path: Path, now: JournalHeader) -> bool:
    try:
        with path.open("rb") as file:
            return _why_not(read_header(file.readline(MOST_BYTES), path), now) is None
    except (OSError, BadFile):  # gone meanwhile
        return False


def _why_not(begun: JournalHeader, now: JournalHeader) -> str | None:
    """How the run that was begun differs from the one that is asked for; None if it doesn't."""
    if begun.kind != now.kind:
        return Message("with {cache}; give it again", cache=Field("cache", begun.kind != "run"))
    changes: list[str] = []
    for key, fields in now.workloads.items():
        stored = begun.workloads.get(key)
        changes += ["another suite"] if stored is None else explain(stored, fields)
    if set(begun.workloads) - set(now.workloads):
        changes.append("another suite")
    return f"under other conditions: {'; '.join(dict.fromkeys(changes))}" if changes else None
