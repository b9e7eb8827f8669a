"""Processes that are killed at any step of a journal, and several that want the same one."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest
from journal_builders import NOW, W, killed
from result_builders import header, result, run_file
from running import PATIENCE_S

from autotune_cli.errors import NothingToResume
from autotune_cli.results.journal import Journal, load
from autotune_cli.results.journal_files import find_resumable, remove_unbegun
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.runs import write_run
from autotune_cli.results.schema import Conditions

FORK = multiprocessing.get_context("fork")


def _resume(path: Path, start: Barrier, all_tried: Event, queue: multiprocessing.Queue[bool]) -> None:
    start.wait()
    try:
        journal, _ = Journal.resume(path)
    except NothingToResume:
        queue.put(False)
    else:
        queue.put(True)
        all_tried.wait(PATIENCE_S)
        journal.close()


def test_only_one_process_resumes(tmp_path: Path) -> None:
    start, all_tried, queue = FORK.Barrier(4), FORK.Event(), FORK.Queue()
    path = killed(tmp_path)
    workers = [FORK.Process(target=_resume, args=(path, start, all_tried, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert sorted(queue.get(timeout=PATIENCE_S) for _ in range(4)) == [False, False, False, True]
    all_tried.set()
    for worker in workers:
        worker.join()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in(point: str, share: float) -> None:
    """From now on a record kills this process: after a share of its bytes, before they are synced, or after that."""
    write, sync = os.write, os.fsync
    if point == "write":
        os.write = lambda descriptor, data: _die(write(descriptor, data[: int(share * len(data))]))  # type: ignore
    elif point == "sync":
        os.fsync = _die
    else:
        os.fsync = lambda descriptor: _die(sync(descriptor))  # type: ignore[assignment]


def _append_until_killed(root: Path, pipe: int, path: Path | None, count: int, point: str, share: float) -> None:
    """Writes ``count`` records and says so after each; the next one is its last, the header if there is no journal."""
    if path is None:
        _die_in(point, share)
        Journal.create(root, header(), NOW)
    assert path is not None
    journal, state = Journal.resume(path)
    first = len(state.rounds.get(W, {}))
    for number in range(first, first + count + 1):
        if number == first + count:
            _die_in(point, share)
        # A line of some length.
        times = {f"candidate {i}": 1.0 + i for i in range(200)}
        journal.round(W, RoundRecord(conditions=Conditions(round=number), times=times))
        os.write(pipe, f"{number}\n".encode())


def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    draw = random.Random(3)
    path: Path | None = None
    rounds: list[int] = []
    acknowledged = 0
    for turn in range(30):
        reader, writer = os.pipe()
        point = ("write", "sync", "acknowledgement")[turn % 3]
        arguments = (tmp_path, writer, path, draw.randrange(4), point, draw.random())
        process = FORK.Process(target=_append_until_killed, args=arguments)
        process.start()
        os.close(writer)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with open(reader, "rb") as stream:
            said = [int(line) for line in stream.read().splitlines()]
        acknowledged += len(said)
        path = find_resumable(tmp_path, "llama")
        if path is None:
            assert not acknowledged
            continue
        state = load(path)
        before, rounds = rounds, list(state.rounds.get(W, {}))
        assert rounds == list(range(len(rounds)))
        # What was said, and the one it was killed in if its bytes are there.
        assert len(rounds) - len(before) - len(said) in ((0,) if point == "write" else (0, 1))
    assert path is not None
    assert acknowledged > 30
    assert len(rounds) >= acknowledged


STEPS = ("open", "write", "fsync", "replace", "unlink")


def _run_until_killed(root: Path, steps: int, resume: bool, pipe: int) -> None:
    """A whole run, as ``tune --no-cache`` writes it, killed after so many calls that change a file."""
    left = steps

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            result = call(*arguments, **options)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counting

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    found = find_resumable(root, "llama") if resume else None
    if not resume or found is not None:
        journal = Journal.create(root, header(), NOW) if found is None else Journal.resume(found)[0]
        journal.done(result())
        write_run(journal.run_path, run_file(result(), wall_s=1.0 + steps))
        journal.finish()
    os.write(pipe, b"finished")


def _run(root: Path, steps: int, resume: bool) -> bool:
    """Did the run come to its end?"""
    reader, writer = os.pipe()
    process = FORK.Process(target=_run_until_killed, args=(root, steps, resume, writer))
    process.start()
    os.close(writer)
    process.join()
    with open(reader, "rb") as stream:
        return stream.read() == b"finished"


def test_a_run_killed_at_any_step_is_one_file_when_it_is_resumed(tmp_path: Path) -> None:
    for steps in range(1, 100):
        root = tmp_path / str(steps)
        finished = _run(root, steps, resume=False)
        files = {path: path.read_bytes() for path in root.glob("runs/*.json")}
        if find_resumable(root, "llama") is None and not files:
            _run(root, 0, resume=False)  # killed before its header: a new run takes its place
        assert _run(root, 0, resume=True)
        assert os.listdir(root / "runs") == ["llama.20261121_093012.json"], steps
        for path, data in files.items():
            assert path.read_bytes() == data, steps
        if finished:
            break
    assert 10 < steps < 30


def test_killed_while_it_is_resumed(tmp_path: Path) -> None:
    """At any step of the second process too."""
    for steps in range(1, 100):
        root = tmp_path / str(steps)
        assert not _run(root, 7, resume=False)
        finished = _run(root, steps, resume=True)
        assert finished or _run(root, 0, resume=True)
        assert os.listdir(root / "runs") == ["llama.20261121_093012.json"], steps
        if finished:
            break
    assert 5 < steps < 30


def test_what_was_killed_before_its_header_goes_with_the_next_run(tmp_path: Path) -> None:
    kept = killed(tmp_path)
    begun, owned = (kept.with_name(f".llama.2026112{day}_093012.journal") for day in (2, 3))
    begun.write_text('{"record": "hea')
    descriptor = os.open(owned, os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # its owner is about to write
    with Journal.create(tmp_path, header(), NOW + timedelta(days=9)) as journal:
        assert sorted(os.listdir(tmp_path / "runs")) == sorted(path.name for path in (kept, owned, journal.path))
    os.close(descriptor)


def test_a_journal_that_is_taken_for_a_left_one_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process looks between the making of the file and its lock."""
    lock, waiting = fcntl.flock, [True]

    def late(descriptor: int, operation: int) -> None:
        if waiting and operation == fcntl.LOCK_EX:
            waiting.clear()
            remove_unbegun(tmp_path / "runs")
            assert os.listdir(tmp_path / "runs") == []
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with Journal.create(tmp_path, header(), NOW) as journal:
        assert journal.path.name == ".llama.20261121_093012.2.journal"
        assert load(journal.path).header == header()


OWNER = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[2])
from datetime import datetime
from pathlib import Path
from result_builders import header
from autotune_cli.results.journal import Journal
journal = Journal.create(Path(sys.argv[1]), header(), datetime(2026, 11, 21))
worker = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
print(worker.pid, flush=True)
time.sleep(1000)
"""


def test_a_worker_that_outlives_its_killed_parent_does_not_own_the_journal(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline())
        try:
            assert find_resumable(tmp_path, "llama") is None
            owner.kill()
            owner.wait()
            os.kill(worker, 0)  # it lives
            assert find_resumable(tmp_path, "llama") is not None
        finally:
            os.kill(worker, signal.SIGKILL)
