"""The child's side of a worker process: the only place where a GPU or a kernel library is touched.

Started by :mod:`autotune_cli.worker.process` with a file descriptor and the parent's process id. It reads jobs from
the connection on that descriptor (:mod:`autotune_cli.worker.channel`) and answers with ``("phase", name, subject)``
while it works, then with ``("result", value)`` or ``("raised", kind, message, traceback)``. A job that returns an
iterator is answered with ``("part", value)`` for each value first: long answers stay interruptible.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from autotune_cli.worker.channel import WorkerChannel
from autotune_cli.worker.descendants import MARK, adopt_orphans, end_descendants
from autotune_cli.worker.protocol import Phase, Refusal, WorkerSettings

_PR_SET_PDEATHSIG = 1


def serve(start: Callable[[WorkerSettings, Phase], tuple[Any, Any]]) -> None:
    """Call jobs until the parent closes the connection.

    Args:
        start: prepares this process. It returns the greeting to the parent, and what jobs are called with; it may raise
            :class:`autotune_cli.worker.protocol.Refusal`.
    """
    faulthandler.enable()
    # The parent asks with SIGUSR1 where a hanging worker hangs.
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    if not die_with(int(sys.argv[2]), signal.SIGKILL):
        os._exit(1)
    adopt_orphans()
    start_reaper()
    channel = WorkerChannel(int(sys.argv[1]))
    settings: WorkerSettings = channel.receive()
    try:
        greeting, context = start(settings, lambda name, subject: channel.send(("phase", name, subject)))
        channel.send(("result", greeting))
    except Refusal as refusal:
        channel.send(("raised", refusal.kind, str(refusal), ""))
        return
    except Exception as error:
        channel.send(_raised(error))
        return
    while True:
        try:
            job = channel.receive()
        except EOFError:
            return
        try:
            result = job(context)
            if isinstance(result, Iterator):
                for part in result:
                    channel.send(("part", part))
                result = None
            channel.send(("result", result))
        except Exception as error:  # of the job, or because its result can't cross
            channel.send(_raised(error))


def _raised(error: Exception) -> tuple[str, str, str, str]:
    return "raised", type(error).__name__, str(error), traceback.format_exc()


def die_with(parent: int, with_signal: signal.Signals) -> bool:
    """Have the kernel send this process a signal when the parent dies, however it dies (Linux). False: it is dead.

    More exactly: when the parent's thread ends that started this process.
    """
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, with_signal)
    except (OSError, AttributeError):
        return True
    return os.getppid() == parent


def start_reaper() -> None:
    """Start a process that waits for the end of this one, however it ends, and then kills what it has started.

    It is forked before any library is loaded that starts threads, and does nothing but wait.
    """
    leader, mark = os.getpid(), os.environ.get(MARK)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if os.fork() == 0:
        try:
            # The parent must see this process's connection end.
            os.closerange(0, 1 << 16)
            if die_with(leader, signal.SIGTERM):
                signal.sigwait({signal.SIGTERM})
            end_descendants(leader, mark, but=os.getpid())
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
