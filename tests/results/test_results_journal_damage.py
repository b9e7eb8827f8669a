"""Journals that are cut off, damaged or foreign, and appends that fail."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from journal_builders import NOW, W, contents, killed, round_record
from result_builders import candidate, header, result

from autotune_cli.errors import BadFile, CannotWrite, NewerSchema
from autotune_cli.results.journal import Journal, load
from autotune_cli.results.journal_files import find_resumable


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
def test_garbage_is_tolerated_behind_all_that_was_on_disk_only(tmp_path: Path, garbage: bytes) -> None:
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
    path.write_bytes(data + garbage + b'\n{"record"')
    state = load(path)
    assert contents(state) == (1, [0, 1], [])
    assert state.end == len(data)
    path.write_bytes(garbage + b"\n" + data)
    with pytest.raises(BadFile, match=r"journal: line 1: "):
        load(path)


@pytest.mark.parametrize("lost", [(0.0, 1.5), (0.5, 1.0), (1.2, 3.0), (2.0, 2.1)])
def test_vettings_that_a_machine_that_went_down_left_in_pieces(tmp_path: Path, lost: tuple[float, float]) -> None:
    """They are synced with the next round only, and any part of them may be missing: here it reads as zeros."""
    path = killed(tmp_path)
    with Journal.resume(path)[0] as journal:
        for key in ("a", "b", "c"):
            journal.vetted(W, candidate(key))
    lines = path.read_bytes().splitlines(keepends=True)
    whole, vettings = b"".join(lines[:-3]), b"".join(lines[-3:])
    first, last = (int(part * len(vettings) / 3) for part in lost)
    path.write_bytes(whole + vettings[:first] + bytes(last - first) + vettings[last:])
    state = load(path)
    assert contents(state) == (1 + int(lost[0]), [0, 1], [])
    assert state.end == len(whole) + int(lost[0]) * len(lines[-1])
    with Journal.resume(path)[0] as journal:
        journal.round(W, round_record(2))
    assert contents(load(path)) == (1 + int(lost[0]), [0, 1, 2], [])
    # What was on disk before a round isn't left in pieces by that: such a journal is damaged.
    path.write_bytes(whole.replace(b'"vetted"', b'\0vetted"'))
    with pytest.raises(BadFile, match="line 2"):
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
    journal.round(W, round_record(0))  # there is room again
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
