from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest
from result_builders import KEYS, candidate, decode, header, result, run_file
from running import PATIENCE_S

from autotune_cli.errors import BadFile, BadName, CannotWrite, NewerSchema, NothingToResume
from autotune_cli.results import journal as module
from autotune_cli.results.journal import Journal, load
from autotune_cli.results.journal_files import find_resumable, remove_unbegun
from autotune_cli.results.records import JournalState, RoundRecord
from autotune_cli.results.runs import write_run
from autotune_cli.results.schema import Conditions

NOW = datetime(2026, 11, 21, 9, 30, 12)
FORK = multiprocessing.get_context("fork")
W = decode().key


def round_record(number: int, us: float = 10.0) -> RoundRecord:
    return RoundRecord(conditions=Conditions(round=number), times={KEYS[0]: us}, noise_of=KEYS[0], noise_us=us)


def killed(root: Path, now: datetime = NOW) -> Path:
    """A journal of a process that is gone, with a vetting and two rounds."""
    with Journal.create(root, header(), now) as journal:
        journal.vetted(W, candidate())
        journal.round(W, round_record(0))
        journal.round(W, round_record(1))
    return journal.path


def contents(state: JournalState) -> tuple[int, list[int], list[str]]:
    return len(state.vetted.get(W, {})), list(state.rounds.get(W, {})), list(state.done)


# --- one process -----------------------------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path: Path) -> None:
    with Journal.create(tmp_path, header(), NOW) as journal:
        journal.vetted(W, candidate())
        journal.vetted(W, candidate(KEYS[1], status="incorrect", reason="wrong", rounds=(), rounds_us=(), evidence=()))
        journal.round(W, round_record(0))
        journal.round(W, RoundRecord(conditions=Conditions(round=1, dropped=True, throttle=("thermal",)), times={}))
        journal.done(result())
        state = load(journal.path)  # the owner is alive
    assert journal.path == tmp_path / "runs" / ".llama.20261121_093012.journal"
    assert state == load(journal.path)
    assert state.header == header()
    assert state.vetted[W][KEYS[0]] == candidate()
    assert state.vetted[W][KEYS[1]].status == "incorrect"
    assert state.rounds[W][0] == round_record(0)
    assert state.rounds[W][1].conditions.dropped
    assert state.done == {W: result()}
    assert state.notes == []
    assert state.end == journal.path.stat().st_size


def test_the_last_vetting_and_result_and_the_first_round_count(tmp_path: Path) -> None:
    with Journal.create(tmp_path, header(), NOW) as journal:
        for us in (1.0, 2.0):
            journal.vetted(W, candidate(us=us))
            journal.round(W, round_record(0, us))
            journal.done(result(us=us))
    state = load(journal.path)
    assert state.vetted[W][KEYS[0]].median_us == 2.0
    assert state.rounds[W][0].times == {KEYS[0]: 1.0}
    assert state.done[W] == result(us=2.0)


def test_finish_removes_it(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, header(), NOW)
    journal.finish()
    journal.finish()
    assert os.listdir(tmp_path / "runs") == []
    with pytest.raises(ValueError, match="closed"):
        journal.done(result())


def test_names_are_unique_and_checked(tmp_path: Path) -> None:
    a, b = (Journal.create(tmp_path, header(), NOW) for _ in range(2))
    assert b.path.name == ".llama.20261121_093012.2.journal"
    a.close()
    b.close()
    with pytest.raises(BadName):
        Journal.create(tmp_path, header(name="../x"), NOW)


def test_rounds_without_sense_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="dropped, yet has times"):
        RoundRecord(conditions=Conditions(round=1, dropped=True), times={"a": 1.0})
    with pytest.raises(ValueError, match="noise of nothing"):
        RoundRecord(conditions=Conditions(round=1), times={}, noise_us=1.0)


def test_each_record_is_synced_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    write, sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: (calls.append("write"), write(fd, data))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), sync(fd))[1])
    with Journal.create(tmp_path, header(), NOW) as journal:
        assert calls == ["write", "fsync", "fsync"]  # the header, and the folder for the name
        calls.clear()
        journal.vetted(W, candidate())
        assert calls == ["write", "fsync"]


def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def in_two_parts(descriptor: int, data: bytes) -> int:
        time.sleep(0.0001)  # lets another thread run
        return write(descriptor, data[: max(1, len(data) // 2)])

    monkeypatch.setattr(os, "write", in_two_parts)
    workloads = [decode(batch) for batch in range(1, 9)]
    with Journal.create(tmp_path, header(*workloads), NOW) as journal:

        def work(key: str) -> None:
            for number in range(5):
                journal.round(key, round_record(number))

        threads = [threading.Thread(target=work, args=(workload.key,)) for workload in workloads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    state = load(journal.path)
    assert {key: list(rounds) for key, rounds in state.rounds.items()} == {w.key: list(range(5)) for w in workloads}


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_cut_at_any_byte_loses_one_record_at_most(tmp_path: Path) -> None:
    path = killed(tmp_path)
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for length in [
        *range(ends[0], len(data), 7),
        *ends,
        *(end - 1 for end in ends[1:]),
        *(end + 1 for end in ends[:-1]),
    ]:
        path.write_bytes(data[:length])
        state = load(path)
        whole = sum(end <= length for end in ends) - 1
        assert contents(state) == (min(whole, 1), list(range(max(whole - 1, 0))), [])
        assert state.end == ends[whole]
        assert len(state.notes) == (length not in ends)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_without_a_whole_header_there_is_nothing(tmp_path: Path, length: int) -> None:
    path = killed(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadFile, match="no whole header"):
        load(path)
    assert find_resumable(tmp_path, "llama") is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        b"hello",
        b"",
        b"\xff\xfe",
        b"{}",
        b'{"record": "round"}',
        b'{"record": "new"}',
        b"NaN",
        b"[" * 100_000,
    ],
)
def test_garbage_is_tolerated_in_the_last_line_only(tmp_path: Path, garbage: bytes) -> None:
    path = killed(tmp_path)
    data = path.read_bytes()
    for end in (b"\n", b""):
        path.write_bytes(data + garbage + end)
        state = load(path)
        assert contents(state) == (1, [0, 1], [])
        assert state.end == len(data)
        assert len(state.notes) == (garbage + end != b"")
    lines = data.split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], garbage, *lines[2:]]))
    with pytest.raises(BadFile, match=r"journal: line 3: "):
        load(path)
    path.write_bytes(data + garbage + b'\n{"record"')  # not the last line, though that is cut off
    with pytest.raises(BadFile, match=r"journal: line 5: "):
        load(path)
    path.write_bytes(garbage + b"\n" + data)
    with pytest.raises(BadFile, match=r"journal: line 1: "):
        load(path)


def test_wrong_values_in_the_middle_are_placed(tmp_path: Path) -> None:
    path = killed(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'"round": 0', b'"round": "0"')
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(BadFile, match=r"line 3: round\.conditions\.round: must be a whole number"):
        load(path)


def test_records_that_do_not_belong(tmp_path: Path) -> None:
    path = killed(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], *lines]))
    with pytest.raises(BadFile, match="line 2: a second header"):
        load(path)
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(W.encode(), b"other"), *lines[2:]]))
    with pytest.raises(BadFile, match="line 2: the header names no workload 'other'"):
        load(path)


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    path = killed(tmp_path)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps({**json.loads(first), "journal_version": 2}).encode() + b"\n" + rest)
    with pytest.raises(NewerSchema):
        load(path)


def test_a_folder_or_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(BadFile):
            load(path)


def test_a_full_disk_leaves_a_whole_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(tmp_path, header(), NOW)
    write = os.write
    calls = []

    def nearly_full(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", nearly_full)
        with pytest.raises(CannotWrite, match="no space left on device"):
            journal.vetted(W, candidate())
    journal.round(W, round_record(0))  # somebody made room
    journal.close()
    state = load(journal.path)
    assert contents(state) == (0, [0], [])
    assert state.notes == []


def test_ctrl_c_in_an_append_leaves_a_whole_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(tmp_path, header(), NOW)
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.vetted(W, candidate())
    journal.done(result())
    assert contents(load(journal.path)) == (0, [], [W])


def test_a_journal_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(CannotWrite, match="no space left on device"):
            Journal.create(tmp_path, header(), NOW)
    assert os.listdir(tmp_path / "runs") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="not a directory"):
        Journal.create(tmp_path / "file", header(), NOW)


# --- resuming --------------------------------------------------------------------------------------------------------


def test_resume_goes_on_behind_the_last_whole_record(tmp_path: Path) -> None:
    path = killed(tmp_path)
    with path.open("ab") as stream:
        stream.write(b'{"record": "round", "workl')
    journal, state = Journal.resume(path)
    assert contents(state) == (1, [0, 1], [])
    assert len(state.notes) == 1
    journal.round(W, round_record(2))
    journal.close()
    again = load(path)
    assert contents(again) == (1, [0, 1, 2], [])
    assert again.notes == []


def test_the_newest_of_the_name_is_found(tmp_path: Path) -> None:
    assert find_resumable(tmp_path, "llama") is None
    old = killed(tmp_path, NOW - timedelta(days=1))
    killed(tmp_path)
    newest = killed(tmp_path)
    with Journal.create(tmp_path, header(name="qwen"), NOW + timedelta(days=1)):
        pass
    (tmp_path / "runs" / ".llama.20271121_093012.journal").touch()  # killed before its header was written
    (tmp_path / "runs" / ".llama.20281121_093012.journal").mkdir()
    assert newest.name == ".llama.20261121_093012.2.journal"
    assert find_resumable(tmp_path, "llama") == newest
    owner, _ = Journal.resume(newest)
    middle = find_resumable(tmp_path, "llama")
    assert middle is not None
    assert middle.name == ".llama.20261121_093012.journal"
    Journal.resume(middle)[0].finish()
    assert find_resumable(tmp_path, "llama") == old
    owner.close()
    assert find_resumable(tmp_path, "llama") == newest


def test_an_owned_journal_is_not_resumed(tmp_path: Path) -> None:
    with Journal.create(tmp_path, header(), NOW) as journal:
        assert find_resumable(tmp_path, "llama") is None
        with pytest.raises(NothingToResume, match="another process is running"):
            Journal.resume(journal.path)
    Journal.resume(journal.path)[0].finish()
    with pytest.raises(NothingToResume, match="is gone"):
        Journal.resume(journal.path)


def test_one_that_is_finished_while_we_wait_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Journal.create(tmp_path, header(), NOW)
    lock = module.lock_exclusively
    monkeypatch.setattr(module, "lock_exclusively", lambda descriptor: (owner.finish(), lock(descriptor))[1])
    with pytest.raises(NothingToResume, match="is gone"):
        Journal.resume(owner.path)


def test_a_damaged_journal_stays_as_it_is(tmp_path: Path) -> None:
    path = killed(tmp_path)
    data = path.read_bytes()
    damaged = data.replace(b"\n", b"\nx\n", 1) + b"torn"
    path.write_bytes(damaged)
    with pytest.raises(BadFile, match="line 2"):
        Journal.resume(path)
    assert path.read_bytes() == damaged
    path.write_bytes(data)
    Journal.resume(path)[0].close()  # the lock was given back


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
