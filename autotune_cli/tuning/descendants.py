"""Ending everything that a process of ours has started: compilers don't die with who called them.

ninja puts each compiler into a process group of its own, so that Ctrl-C doesn't reach it. All of them stay in the
session of the process that we started as a session's leader. Linux; elsewhere nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

# Dead are they at once; memory of several GB takes a moment to be given back.
_PATIENCE_S = 2.0
_GLANCE_S = 0.01


def in_session(leader: int) -> list[int]:
    """Ids of the living processes whose session ``leader`` leads or led, itself among them."""
    found = []
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    for entry in entries:
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # The name before the parenthesis may hold anything.
                state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state not in (b"Z", b"X"):
            found.append(int(entry))
    return found


def end_session(leader: int, but: int | None = None) -> None:
    """Kill a session's processes, those that are started meanwhile too, and wait for their end."""
    deadline = time.monotonic() + _PATIENCE_S
    while left := [pid for pid in in_session(leader) if pid != but]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_GLANCE_S)
