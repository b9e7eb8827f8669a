"""What runs of the program need not do again in every test: import torch, and measure this machine's ceilings.

Workers are forked from a process which has imported torch and the program's own modules, built-in backends among them,
instead of importing them each: more than a second every time. None of these reads its environment when it is imported.

All else is as for the program's own workers: the same code on the same connection, in a session of its own. The
program's processes as a user starts them, and workers that import no torch, are started by the program itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

WITH_TORCH = ("autotune_cli.tuning.check_bench", "autotune_cli.tuning.worker", "autotune_cli.worker.device")
# What these import when they have their settings.
_LATER = (
    "autotune_cli.kernels.attention.problem",
    "autotune_cli.kernels.engines",
    "autotune_cli.kernels.mla.problem",
    "autotune_cli.kernels.topk.problem",
    "autotune_cli.measure.environment",
    "autotune_cli.measure.fired",
    "autotune_cli.measure.timers",
    "autotune_cli.tuning.bench",
    "autotune_cli.tuning.jobs",
    "autotune_cli.tuning.listing",
    "autotune_cli.tuning.plan",
)
_PACKAGE_ROOT = str(Path(__file__).parents[1])
# Runs without a file's name, as the program's own first line does: no frame of it is told for a candidate's.
_SOURCE = """
import gc, importlib, os, pickle, signal, socket, sys, traceback

import torch.profiler

sys.path.append(sys.argv[2])
for module in sys.argv[3:]:
    importlib.import_module(module)
from autotune_cli.kernels.registry import REGISTRY

REGISTRY.discover()
gc.collect()
gc.freeze()
connection = socket.socket(fileno=int(sys.argv[1]))


def run(words, environment, folder, descriptor, log):
    connection.close()
    os.setsid()
    os.chdir(folder)
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 1024)
    os.environ.clear()
    os.environ.update(environment)
    boot, *rest = words
    sys.argv = ["-c", str(descriptor), str(os.getppid()), *rest]
    code = 0
    try:
        exec(compile(boot, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


while True:
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    if not data:
        os._exit(0)
    what, *arguments = pickle.loads(data)
    if what == "start":
        answer = os.fork()
        if answer == 0:
            run(*arguments, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
    else:
        answer = os.waitstatus_to_exitcode(os.waitpid(*arguments, 0)[1])
    connection.send(pickle.dumps(answer))
"""


class Nursery:
    """The process that has imported what workers need; it is started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # It looks for modules there, whatever a test's variables say later.
        self._path = os.environ.get("PYTHONPATH")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def ask(self, *message: Any, descriptors: Sequence[int] = ()) -> int:
        with self._lock:
            if self._connection is None:
                self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [
                            sys.executable,
                            "-P",
                            "-c",
                            _SOURCE,
                            str(theirs.fileno()),
                            _PACKAGE_ROOT,
                            *WITH_TORCH,
                            *_LATER,
                        ],
                        pass_fds=[theirs.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                    )
            socket.send_fds(self._connection, [pickle.dumps(message)], list(descriptors))
            answer = pickle.loads(self._connection.recv(1 << 16))
        assert isinstance(answer, int)
        return answer

    def close(self) -> None:
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.wait()

    def popen(self, words: Sequence[str], **options: Any) -> Any:
        """In the place of ``subprocess.Popen`` for workers."""
        *_, program = words
        same_path = options["env"].get("PYTHONPATH") == self._path
        if program not in WITH_TORCH or not same_path:
            return subprocess.Popen(words, **options)
        _, _, _, boot, connection, _, *rest = words
        descriptors = (int(connection), options["stdout"])
        pid = self.ask("start", (boot, *rest), dict(options["env"]), os.getcwd(), descriptors=descriptors)
        return Forked(pid, self)


class Forked:
    """What the program uses of ``subprocess.Popen``."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._end = os.pidfd_open(pid)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            if not poll.poll(None if timeout is None else 1e3 * timeout):
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self.returncode = self._nursery.ask("wait", self.pid)
            os.close(self._end)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session", autouse=True)
def preloaded_workers() -> Iterator[None]:
    """Workers of this process are forked, where no GPU is used."""
    from autotune_cli.worker.child import Child

    if os.path.exists("/dev/nvidia0") or not hasattr(os, "pidfd_open"):
        yield
        return
    nursery = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "popen", nursery.popen)
        yield
    nursery.close()


@pytest.fixture(scope="module", autouse=True)
def known_ceilings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bandwidth and matrix rate are known, except where a module's MEASURES_CEILINGS says that they are measured."""
    from autotune_cli.results.schema import Ceilings
    from autotune_cli.tuning.jobs import MeasureCeilings
    from autotune_cli.worker.process import Worker

    if os.path.exists("/dev/nvidia0") or getattr(request.module, "MEASURES_CEILINGS", False):
        yield
        return
    ask = Worker.ask

    def asked(self: Worker, job: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(job, MeasureCeilings):
            return Ceilings(memory_gb_per_s=10.0, matmul_tflop_per_s=0.1)
        return ask(self, job, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "ask", asked)
        yield
