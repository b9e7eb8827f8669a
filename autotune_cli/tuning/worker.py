"""The worker process: the only place where a GPU or a kernel library is touched.

Started by :mod:`autotune_cli.tuning.process` with a file descriptor and the parent's process id. It reads jobs from
the connection on that descriptor (:mod:`autotune_cli.tuning.channel`) and answers with ``("phase", name, subject)``
while it works, then with ``("result", value)`` or ``("raised", kind, message, traceback)``. A job that returns an
iterator is answered with ``("part", value)`` for each value first: long answers stay interruptible.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib.util
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels import own_files
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.tuning.channel import WorkerChannel
from autotune_cli.tuning.descendants import MARK, adopt_orphans, end_descendants

if TYPE_CHECKING:
    from autotune_cli.tuning.bench import Bench
    from autotune_cli.tuning.jobs import WorkerSettings

_PR_SET_PDEATHSIG = 1
KERNEL_FILE_ERROR = "kernel-file"
# Of a message; some hold whole sources or logs of compilers.
_LONGEST_MESSAGE = 400
NO_DEVICE_ERROR = "no-device"


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


def serve(start: Callable[[WorkerSettings, WorkerChannel], Any]) -> None:
    """Call jobs with what ``start`` returns until the parent closes the connection."""
    faulthandler.enable()
    # The parent asks with SIGUSR1 where a hanging worker hangs.
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    if not die_with(int(sys.argv[2]), signal.SIGKILL):
        os._exit(1)
    adopt_orphans()
    leave_nobody()
    channel = WorkerChannel(int(sys.argv[1]))
    settings: WorkerSettings = channel.receive()
    try:
        bench = start(settings, channel)
    except _Refusal as refusal:
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
            result = job(bench)
            if isinstance(result, Iterator):
                for part in result:
                    channel.send(("part", part))
                result = None
            channel.send(("result", result))
        except Exception as error:  # of the job, or because its result can't cross
            channel.send(_raised(error))


def _raised(error: Exception) -> tuple[str, str, str, str]:
    return "raised", type(error).__name__, str(error), traceback.format_exc()


class _Refusal(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def load_kernel_files(settings: WorkerSettings, channel: WorkerChannel) -> None:
    """Run the users' files, each under a phase of its own."""
    begin = time.time()
    if settings.kernel_files:
        own_files.watch(begin)
        # Built-in backends first, so that a file that takes one's name is the one to be told.
        REGISTRY.discover()
    for path in settings.kernel_files:
        channel.send(("phase", "load", path))
        REGISTRY.own_files.append(Path(path))
        load_kernel_file(path)


def _start(settings: WorkerSettings, channel: WorkerChannel) -> Bench:
    load_kernel_files(settings, channel)
    channel.send(("phase", "start", settings.device))

    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise _Refusal(NO_DEVICE_ERROR, "torch sees no NVIDIA GPU")
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)

    from autotune_cli.measure.environment import collect
    from autotune_cli.measure.timers import default_timer, make_timer
    from autotune_cli.tuning.bench import Bench
    from autotune_cli.tuning.jobs import Ready

    channel.send(("phase", "probe", settings.device))
    timer = make_timer(settings.timer or default_timer(settings.device), settings.device, settings.l2)
    environment, gpu = collect(settings.device)
    bench = Bench(environment, gpu, timer, settings.seed, lambda name, subject: channel.send(("phase", name, subject)))
    channel.send(("result", Ready(environment, timer.name, timer.l2, gpu.uuid if gpu else None)))
    return bench


def load_kernel_file(path: str) -> None:
    """Run a user's file that registers backends.

    Raises:
        _Refusal: it can't be read or raises, with the line at fault.
    """
    name = f"autotune_user_{abs(hash(path))}_{Path(path).stem}"
    if not Path(path).is_file():
        raise _Refusal(KERNEL_FILE_ERROR, "a folder, not a Python file" if Path(path).is_dir() else "no such file")
    # Its own helpers lie beside it, as for any script; last, so that they hide nothing.
    sys.path.append(str(Path(path).parent))
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise _Refusal(KERNEL_FILE_ERROR, "not a Python file (.py)")
    try:
        module = importlib.util.module_from_spec(specification)
        # Triton and inspect look a function's source up through its module.
        sys.modules[name] = module
        specification.loader.exec_module(module)
    except SyntaxError as error:
        elsewhere = "" if error.filename in (path, None) else f"{error.filename}, "
        raise _Refusal(KERNEL_FILE_ERROR, f"{elsewhere}line {error.lineno}: {_message(error.msg)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it is, the file is at fault
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        place = f"line {frames[-1].lineno}: " if frames else ""
        raise _Refusal(KERNEL_FILE_ERROR, f"{place}{type(error).__name__}: {_message(error)}") from error


def _message(error: object) -> str:
    """What an exception says, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as fault:  # whatever __str__ raises
        return f"its message can't be shown ({type(fault).__name__})"
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def die_with(parent: int, with_signal: signal.Signals) -> bool:
    """Have the kernel send this process a signal when the parent dies, however it dies (Linux). False: it is dead.

    More exactly: when the parent's thread ends that started this process.
    """
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, with_signal)
    except (OSError, AttributeError):
        return True
    return os.getppid() == parent


def leave_nobody() -> None:
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
