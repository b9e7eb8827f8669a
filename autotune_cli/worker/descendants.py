"""Ending everything that a process of ours has started: compilers and daemons don't die with their caller.

ninja puts each compiler into a process group of its own, so that Ctrl-C doesn't reach it, but all stay in the session
of the process that we started as a session's leader. A candidate's daemon leaves the session too. It is found by its
parents, as orphans come to the worker (PR_SET_CHILD_SUBREAPER), and where the worker is dead, by a mark in the
environment that it inherited. Linux; elsewhere nothing is found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from typing import NamedTuple

MARK = "AUTOTUNE_WORKER"
"""Name of the environment variable that all descendants of a worker inherit; another value for each worker."""

_PR_SET_CHILD_SUBREAPER = 36
# Dead are they at once; memory of several GB takes a moment to be given back.
_PATIENCE_S = 2.0
_GLANCE_S = 0.01


class _Process(NamedTuple):
    parent: int
    session: int


def adopt_orphans() -> None:
    """Have the orphans among this process's descendants become its children, not those of process 1 (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(leader: int, mark: str | None = None) -> list[int]:
    """Ids of the living processes that ``leader`` started, directly or not, itself among them: those of its session,
    its children and theirs, and those whose environment has ``mark``.
    """
    living = _living()
    found = {pid for pid, process in living.items() if pid == leader or process.session == leader}
    if mark is not None:
        found |= {pid for pid in living if pid not in found and _has_mark(pid, mark)}
    size = -1
    while size < len(found):
        size = len(found)
        found |= {pid for pid, process in living.items() if process.parent in found}
    return sorted(found)


def end_descendants(leader: int, mark: str | None = None, but: int | None = None) -> None:
    """Kill :func:`descendants`, those that are started meanwhile too, and wait for their end."""
    deadline = time.monotonic() + _PATIENCE_S
    while left := [pid for pid in descendants(leader, mark) if pid not in (but, os.getpid())]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_GLANCE_S)


def _living() -> dict[int, _Process]:
    found = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return {}
    for entry in entries:
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # The name before the parenthesis may hold anything.
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state not in (b"Z", b"X"):
            found[int(entry)] = _Process(int(parent), int(session))
    return found


def _has_mark(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read()
    except OSError:  # it is gone, or another user's
        return False
    return f"{MARK}={mark}".encode() in variables.split(b"\0")
