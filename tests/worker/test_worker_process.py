"""One worker process, asked directly."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from running import PATIENCE_S, PROMPT_S, is_running, wait_until

from autotune_cli.errors import NoDevice, NoWorker
from autotune_cli.tuning.jobs import ListBackends, Plan
from autotune_cli.worker import child
from autotune_cli.worker.failures import Stopped, WorkerRaised, WorkerTimeout
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings


@pytest.fixture
def started_by_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not forked from a process that is at hand (preloaded.py), for what depends on how a process is started."""
    monkeypatch.setattr(child.Child, "popen", subprocess.Popen)


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def worker(stop: threading.Event) -> Iterator[Worker]:
    made = Worker(WorkerSettings("cpu"), stop=stop)
    yield made
    made.kill()


def pid(worker: Worker) -> int:
    assert worker.pid is not None
    return worker.pid


@pytest.mark.usefixtures("started_by_the_program")
def test_a_dead_worker_is_replaced_by_the_next_question(worker: Worker) -> None:
    names = [backend.name for backend in worker.ask(ListBackends(), PATIENCE_S)]
    first = pid(worker)
    os.kill(first, signal.SIGKILL)
    assert [backend.name for backend in worker.ask(ListBackends(), PATIENCE_S)] == names
    assert worker.starts == 2
    assert pid(worker) != first


def test_a_stopped_worker_is_killed_at_the_time_limit(worker: Worker, stop: threading.Event) -> None:
    worker.start()
    first = pid(worker)
    os.kill(first, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(WorkerTimeout, match=r"no answer within 0\.5 s"):
        worker.ask(ListBackends(), 0.5)
    assert time.monotonic() - begin < PROMPT_S
    assert not is_running(first)


def test_the_stop_event_ends_the_waiting_and_the_worker(worker: Worker, stop: threading.Event) -> None:
    worker.start()
    first = pid(worker)
    os.kill(first, signal.SIGSTOP)
    threading.Timer(0.3, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped):
        worker.ask(ListBackends(), PATIENCE_S)
    assert time.monotonic() - begin < PROMPT_S
    assert not is_running(first)


def test_time_limits_beyond_what_the_system_can_wait(worker: Worker) -> None:
    assert worker.ask(ListBackends(), 1e300)


@pytest.mark.usefixtures("started_by_the_program")
def test_a_worker_dies_with_the_thread_that_started_it(worker: Worker) -> None:
    """Linux sends the death signal at the end of the thread, not of the process: nobody may hand a worker on."""
    thread = threading.Thread(target=worker.start)
    thread.start()
    thread.join()
    first = pid(worker)
    wait_until(lambda: not is_running(first))
    assert worker.ask(ListBackends(), PATIENCE_S)  # started by this thread now
    assert worker.starts == 2


def test_a_fault_of_the_program_is_raised_with_its_trace(worker: Worker) -> None:
    with pytest.raises(WorkerRaised, match=r"(?s)AttributeError: .*Traceback.*plan\.py"):
        worker.ask(Plan((None,)), PATIENCE_S)  # type: ignore[arg-type]


def test_no_gpu_is_said_so() -> None:
    worker = Worker(WorkerSettings("cuda"), gpu="0")
    with pytest.raises(NoDevice, match="no GPU"):
        worker.start()
    worker.kill()


def _popen_and_wait(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(*words, **options)
    process.wait()
    return process


@pytest.mark.parametrize("popen", [subprocess.Popen, _popen_and_wait], ids=["running", "ended before it is greeted"])
def test_a_worker_that_does_not_start(monkeypatch: pytest.MonkeyPatch, worker: Worker, popen: Any) -> None:
    monkeypatch.setattr(child.Child, "popen", staticmethod(popen))
    monkeypatch.setattr(child, "_BOOT", "import sys; sys.exit('no libcudart.so')")
    with pytest.raises(NoWorker, match=r"exited with code 1: no libcudart\.so"):
        worker.start()
