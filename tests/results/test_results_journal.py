"""A journal of a run: what is written comes back, and a run goes on where it was."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from journal_builders import NOW, W, contents, killed, round_record
from result_builders import KEYS, candidate, decode, header, result

from autotune_cli.errors import BadFile, BadName, NothingToResume
from autotune_cli.results import journal as module
from autotune_cli.results.journal import Journal, load
from autotune_cli.results.journal_files import find_resumable
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.schema import Conditions


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


def test_what_another_card_has_measured_counts_no_more(tmp_path: Path) -> None:
    with Journal.create(tmp_path, header(), NOW) as journal:
        for place in ("GPU-1", "GPU-1", "GPU-2"):
            journal.begun(W, place)
            before = load(journal.path)
            journal.vetted(W, candidate())
            for number in range(2):
                journal.round(W, round_record(number, 1.0 if place == "GPU-1" else 2.0))
            journal.done(result())
    # The second time at one card goes on where the first ended.
    assert contents(before) == (0, [], [])
    state = load(journal.path)
    assert state.begun == {W: "GPU-2"}
    assert contents(state) == (1, [0, 1], [W])
    assert [record.times for record in state.rounds[W].values()] == [{KEYS[0]: 2.0}] * 2


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


def test_rounds_are_synced_before_append_returns_and_vettings_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    write, sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: (calls.append("write"), write(fd, data))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), sync(fd))[1])
    with Journal.create(tmp_path, header(), NOW) as journal:
        assert calls == ["write", "fsync", "fsync"]  # the header, and the folder for the name
        calls.clear()
        journal.vetted(W, candidate())
        assert calls == ["write"]
        journal.round(W, round_record(0))
        assert calls == ["write", "write", "fsync"]


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
