"""One worker process whose jobs break it: killed from outside, its connection written into, daemons left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import worker_jobs
from clocks import HangClock, ticking
from running import PATIENCE_S, is_running, wait_until
from worker_jobs import Answer, Daemon, Flood, Parts, Raise, Unpicklable, Wait, Write, framed

from autotune_cli.errors import BadKernels, NoWorker
from autotune_cli.worker.channel import Reader, Spoilt, Writer
from autotune_cli.worker.failures import OutOfTime, Stopped, WorkerDied, WorkerKilled, WorkerRaised, WorkerTimeout
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

JOBS = {"PYTHONPATH": str(Path(worker_jobs.__file__).parent)}


class Light(Worker):
    """Without torch, which takes seconds; all else is the same."""

    program = "autotune_cli.tuning.builder"


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Light(WorkerSettings("cpu"), variables=JOBS)
    yield made
    made.kill()


def pid(worker: Worker) -> int:
    assert worker.pid is not None
    return worker.pid


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_killed_from_outside_is_tried_again(worker: Worker, tmp_path: Path, number: int) -> None:
    assert worker.ask(Raise(number, tmp_path, times=1), PATIENCE_S) == 1
    assert worker.starts == 2


def test_killed_from_outside_twice_says_so(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerKilled, match=r"^killed by SIGKILL twice \(out of host memory\?\)$"):
        worker.ask(Raise(signal.SIGKILL, tmp_path, times=2), PATIENCE_S)
    assert worker.starts == 2


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_a_fault_of_the_job_is_not_tried_again(worker: Worker, tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(WorkerDied, match=f"killed by {number.name}") as raised:
        worker.ask(Raise(number, tmp_path, times=1), PATIENCE_S)
    assert not isinstance(raised.value, WorkerKilled)
    assert worker.starts == 1


@pytest.mark.parametrize(("kills", "starts"), [(1, 2), (2, 2)])
def test_killed_while_it_starts(monkeypatch: pytest.MonkeyPatch, worker: Worker, kills: int, starts: int) -> None:
    send = Worker._send

    def killing(self: Worker, message: Any, *limits: float) -> None:
        if isinstance(message, WorkerSettings) and self.starts <= kills:
            os.kill(pid(self), signal.SIGKILL)
        send(self, message, *limits)

    monkeypatch.setattr(Worker, "_send", killing)
    if kills == 1:
        assert worker.ask(Answer(7), PATIENCE_S) == 7
    else:
        with pytest.raises(NoWorker, match="killed by SIGKILL twice"):
            worker.ask(Answer(7), PATIENCE_S)
    assert worker.starts == starts


def test_a_kernel_file_that_kills_its_process_is_told(tmp_path: Path) -> None:
    file = tmp_path / "kills.py"
    file.write_text("import os\nos.kill(os.getpid(), 9)\n")
    worker = Light(WorkerSettings("cpu", kernel_files=(str(file),)))
    with pytest.raises(BadKernels, match="loading it ends the process: killed by SIGKILL twice"):
        worker.start()


# --- the connection --------------------------------------------------------------------------------------------------

GARBAGE = {
    "junk": b"\x00\x00\x00\x04junk" * 8,
    "an answer, as it would be framed elsewhere": framed(("result", "forged")),
    "a raised fault": framed(("raised", "ValueError", "forged", "")),
    "a huge length": b"\x7f" + b"\xff" * 200,
    "a length of eight bytes": b"\xff\xff\xff\xff" + b"\x7f" + b"\xff" * 7 + b"x" * 100,
    "three bytes": b"abc",
    "a megabyte": b"x" * (1 << 20),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_the_worker_did_not_send_is_noticed(worker: Worker, what: str) -> None:
    with pytest.raises(WorkerDied, match="wrote into the worker's connection"):
        worker.ask(Write(GARBAGE[what]), PATIENCE_S)
    assert worker.ask(Answer("fine"), PATIENCE_S) == "fine"
    assert worker.starts == 2


def test_the_rest_of_a_message_is_not_waited_for_beyond_the_limit(worker: Worker, tmp_path: Path) -> None:
    clock = HangClock(tmp_path / "clock", 10 * PATIENCE_S)
    with ticking(clock), pytest.raises(WorkerDied, match="wrote into the worker's connection"):
        worker.ask(Write(b"abc", then="waits", clock=clock.file), PATIENCE_S)


def test_a_closed_connection_is_told(worker: Worker) -> None:
    with pytest.raises(WorkerDied, match="closed its connection"):
        worker.ask(Write(b"", then="closes"), PATIENCE_S)


def test_messages_count() -> None:
    """One that was right once is not right again, nor from the other side, nor in part."""
    key = b"k" * 16
    writer, reader = Writer(key, "worker"), Reader(key, "worker")
    first = writer.pack("first")
    reader.feed(first[:30])
    assert reader.take() is None
    reader.feed(first[30:])
    assert reader.take() is not None
    reader.feed(first)
    with pytest.raises(Spoilt):
        reader.take()
    echo = Reader(key, "parent")
    echo.feed(first)
    with pytest.raises(Spoilt):
        echo.take()
    changed = Reader(key, "worker")
    changed.feed(first[:-20] + b"X" + first[-19:])
    with pytest.raises(Spoilt):
        changed.take()


def test_long_answers_come_in_parts(worker: Worker) -> None:
    assert worker.ask(Parts(1000), PATIENCE_S) == list(range(1000))
    assert worker.ask(Parts(0), PATIENCE_S) == []


def test_what_can_not_cross_is_raised_and_the_worker_lives(worker: Worker) -> None:
    with pytest.raises(WorkerRaised, match="pickle"):
        worker.ask(Unpicklable(), PATIENCE_S)
    assert worker.ask(Answer("fine"), PATIENCE_S) == "fine"
    assert worker.starts == 1


def test_a_large_job_to_a_worker_that_does_not_read_ends_at_the_limit(worker: Worker) -> None:
    worker.start()
    os.kill(pid(worker), signal.SIGSTOP)
    with pytest.raises(WorkerTimeout, match=r"takes no job, stopped by a signal"):
        worker.ask(Answer(b"x" * (8 << 20)), 0.3)


def test_a_flood_on_stdout_costs_neither_memory_nor_disk(worker: Worker) -> None:
    worker.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert worker.ask(Flood(300), PATIENCE_S) == "done"
    assert worker._child is not None
    log = worker._child.log
    assert log.tail().endswith("xthe end")
    assert len(log.tail()) < 1 << 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


# --- threads ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_another_thread_kills_is_stopped_and_not_begun_again(worker: Worker) -> None:
    """As a second SIGTERM does: the main thread ends the workers while others wait for them."""
    worker.start()
    waiting = threading.Event()
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            worker.ask(Wait(), PATIENCE_S, on_phase=lambda *phase: waiting.set())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert waiting.wait(PATIENCE_S)
    worker.kill()
    thread.join(PATIENCE_S)
    assert [type(error) for error in raised] == [Stopped]
    assert worker.starts == 1
    assert worker.pid is None


# --- limits ----------------------------------------------------------------------------------------------------------


def test_the_callers_end_comes_before_all_limits(worker: Worker) -> None:
    worker.start()
    with pytest.raises(OutOfTime):
        worker.ask(Write(b"", then="waits"), 1000.0, end=time.monotonic() + 0.3)
    with pytest.raises(OutOfTime):
        worker.ask(Answer(1), 1000.0, end=time.monotonic())


# --- what is left behind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [False, True])
def test_a_daemon_ends_with_its_worker(worker: Worker, tmp_path: Path, clean: bool) -> None:
    assert worker.ask(Daemon(tmp_path / "pid", clean=clean), PATIENCE_S) == "left"
    left = int((tmp_path / "pid").read_text())
    assert is_running(left)
    worker.kill()
    assert not is_running(left)


def test_a_daemon_ends_though_its_worker_is_dead(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="exited with code 5"):
        worker.ask(Daemon(tmp_path / "pid", ends=True), PATIENCE_S)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_daemon_ends_though_every_other_process_was_killed(tmp_path: Path) -> None:
    """The program, by SIGKILL; no process is left that could tell the worker's descendants."""
    code = (
        "from test_worker_hostile import *\n"
        f"Light(WorkerSettings('cpu'), variables=JOBS).ask(Daemon(Path({str(tmp_path / 'pid')!r})), PATIENCE_S)\n"
        "time.sleep(1000)\n"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    program = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)})
    file = tmp_path / "pid"
    wait_until(lambda: file.exists() and file.read_text())
    left = int(file.read_text())
    program.kill()
    program.wait()
    wait_until(lambda: not is_running(left), "the daemon's end")


def test_the_log_s_pipe_and_the_socket_are_closed(worker: Worker) -> None:
    worker.start()
    worker.kill()
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(3):
        worker.start()
        worker.kill()
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads
