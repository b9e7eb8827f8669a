"""Why a worker's process ended, and where in Python it was, from its exit code and the end of what it printed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

from autotune_cli.worker.channel import EXIT_LOST
from autotune_cli.worker.failures import WorkerDied, WorkerKilled

# A person, a scheduler or the kernel (for lack of memory) sends these. What a fault of code sends is not among them:
# SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS.
_FROM_OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU}
)
# What torch's profiler prints whenever it begins or ends.
_PROFILER_LINES = "USDT:"
# Frames that every candidate is called from.
_OWN_FRAMES = ("autotune_cli/worker/", "autotune_cli/tuning/", "autotune_cli/measure/", 'File "<string>"')
_LONGEST = 200


def exit_reason(code: int | None, log: str, kernel_files: Iterable[str]) -> WorkerDied:
    """What to raise for a process that is not there any more.

    Args:
        code: as :class:`subprocess.Popen` gives it: negative for a signal; None: it still runs, without a connection.
        log: what it printed during the job; what candidates before this job printed explains nothing.
        kernel_files: the users' files.
    """
    if code is None or code == EXIT_LOST:
        return WorkerDied("it closed its connection")
    if -code in _FROM_OUTSIDE:
        memory = " (out of host memory?)" if -code == signal.SIGKILL else ""
        return WorkerKilled(f"killed by {_name(-code)}{memory}")
    reason = f"exited with code {code}" if code >= 0 else f"killed by {_name(-code)}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_PROFILER_LINES)]
    place = place_in("\n".join(lines), kernel_files)
    if place:
        reason += place
    elif lines and code > 0:
        reason += f": {lines[-1][:_LONGEST]}"
    return WorkerDied(reason)


def place_in(log: str, kernel_files: Iterable[str]) -> str:
    """``, in File "mine.py", line 12 in run``, as faulthandler prints it: the frame in a user's file if there is one,
    else the innermost one that isn't this program's; empty without any.
    """
    lines = [line.strip() for line in log.splitlines()]
    frames = [line for line in lines if line.startswith('File "') and not any(own in line for own in _OWN_FRAMES)]
    # By its name, as an exception's place is told.
    users = [line.replace(path, Path(path).name) for line in frames for path in kernel_files if f'"{path}"' in line]
    return next((f", in {frame}" for frame in (*users, *frames)), "")


def is_paused(pid: int) -> bool:
    """Has a signal stopped the process (SIGSTOP, SIGTSTP)? Linux; elsewhere False."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"T"]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
