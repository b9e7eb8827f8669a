"""Cache files that can't be used are set aside, and what can't be written loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_builders import listing, loaded, store
from result_builders import decode, environment, result, run_file

from autotune_cli import reading
from autotune_cli.errors import CannotWrite
from autotune_cli.results import atomic, cache
from autotune_cli.results.cache import lookup
from autotune_cli.results.files import dump_run
from autotune_cli.results.identity import environment_key, fits_key
from autotune_cli.results.schema import Ceilings, RunFile

H200, B200 = environment(), environment("NVIDIA B200", capability=(10, 0))
GOOD = dump_run(run_file(result()))
BAD = {
    "cut short": GOOD[: len(GOOD) // 2],
    "the file is empty": "",
    "not JSON": "hello",
    "schema version 9 is newer than 2": GOOD.replace('"schema_version": 2', '"schema_version": 9'),
    "settings.rounds: must be a whole number": GOOD.replace('"rounds": 10,', '"rounds": "ten",'),
    "NaN is not a JSON number": GOOD.replace("491.25", "NaN", 1),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_file_is_set_aside(tmp_path: Path, why: str) -> None:
    path = store(tmp_path).path
    path.parent.mkdir()
    path.write_text(BAD[why])
    run, (note,) = store(tmp_path).load()
    assert run is None
    assert why in note
    assert "llama.json.bad-1" in note
    assert listing(tmp_path) == ["llama.json.bad-1"]
    assert (tmp_path / "cache" / "llama.json.bad-1").read_text() == BAD[why]
    store(tmp_path).save(run_file(result()))
    assert loaded(tmp_path).workloads == (result(),)


def test_bad_files_are_never_overwritten(tmp_path: Path) -> None:
    path = store(tmp_path).path
    path.parent.mkdir()
    for number in range(1, 4):
        path.write_text(f"bad {number}")
        store(tmp_path).load()
    (tmp_path / "cache" / "llama.json.bad-2").unlink()
    (tmp_path / "cache" / "llama.json.bad-2").symlink_to("nowhere")
    path.mkdir()  # a folder of that name too
    (path / "inside").touch()
    _, (note,) = store(tmp_path).load()
    assert "is a directory" in note
    assert listing(tmp_path) == [f"llama.json.bad-{n}" for n in (1, 2, 3, 4)]
    assert (tmp_path / "cache" / "llama.json.bad-3").read_text() == "bad 3"
    assert (tmp_path / "cache" / "llama.json.bad-4" / "inside").exists()


def test_unreadable_things_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path).path
    path.parent.mkdir()
    path.symlink_to(path.name)  # a link to itself
    _, (note,) = store(tmp_path).load()
    assert "too many levels of symbolic links" in note
    os.mkfifo(path)  # reading it would wait forever
    _, (note,) = store(tmp_path).load()
    assert "not a regular file" in note
    path.write_text(GOOD)

    def denied(*_: object) -> int:
        raise reading.Unreadable(reading.plain(PermissionError(13, "")))

    with monkeypatch.context() as patched:  # the tests may run as root, who reads everything
        patched.setattr(reading, "open_input", denied)
        _, (note,) = store(tmp_path).load()
    assert "permission denied" in note
    assert listing(tmp_path) == [f"llama.json.bad-{n}" for n in (1, 2, 3)]


EDITED: dict[str, Callable[[str], str]] = {
    "another machine's name": lambda text: text.replace('"device": "NVIDIA H200"', '"device": "NVIDIA B200"', 1),
    "another driver": lambda text: text.replace('"driver": "580.1",\n', '"driver": "580.2",\n', 1),
    # As of a merge that kept one side's environments and the other side's results.
    "another machine's key": lambda text: text.replace(environment_key(H200), "0123456789ab"),
    "filed under another machine": lambda text: text.replace(
        f'"environment": "{environment_key(H200)}"', f'"environment": "{environment_key(B200)}"'
    ),
}


@pytest.mark.parametrize("what", EDITED)
def test_results_that_do_not_fit_their_environment_are_not_used(tmp_path: Path, what: str) -> None:
    """Two of H200 and one of B200, of which the first two are now another machine's."""
    written = run_file(result(decode(1)), result(decode(2)), result(decode(3), B200), envs=(H200, B200))
    store(tmp_path).save(written)
    path = store(tmp_path).path
    edited = EDITED[what](path.read_text())
    assert edited != path.read_text()
    path.write_text(edited)
    run, notes = store(tmp_path).load()
    assert run is not None
    assert [entry.key for entry in run.workloads] == [decode(3).key]
    assert all(fits_key(key, each) for key, each in run.environments.items())
    assert notes
    assert all(note.startswith(f"{path}: ") and note.endswith("(edited, or badly merged?); not used") for note in notes)
    assert path.read_text() == edited  # looking changes nothing
    assert lookup(run, decode(1).key, result(decode(1)).identity) == (None, ["not in the cache"])
    (note,) = store(tmp_path).save(run_file(result(decode(1), us=7.0)))
    assert note.endswith("the results that were not used are kept in llama.json.bad-1")
    assert [entry.key for entry in loaded(tmp_path).workloads] == [decode(3).key, decode(1).key]
    assert (tmp_path / "cache" / "llama.json.bad-1").read_text() == edited


def test_a_cache_of_nothing_but_edited_results_is_no_cache(tmp_path: Path) -> None:
    store(tmp_path).save(run_file(result()))
    path = store(tmp_path).path
    path.write_text(path.read_text().replace('"threads": 0', '"threads": 4'))
    run, (note,) = store(tmp_path).load()
    assert run is None
    assert f"environment {environment_key(H200)}, NVIDIA H200, of 1 result doesn't fit its hash" in note


def test_ceilings_and_fields_that_an_older_version_lacked_are_no_edit(tmp_path: Path) -> None:
    document = json.loads(dump_run(run_file(result())))
    ((key, stored),) = document["environments"].items()
    stored["memory_gb_per_s"] = 1.0  # measured anew by each run
    older = {name: value for name, value in stored.items() if name not in Ceilings.model_fields and name != "threads"}
    older_key = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:12]
    for name, content in ((key, stored), (older_key, older)):
        text = json.dumps({**document, "environments": {name: content}}).replace(f'"{key}"', f'"{name}"')
        store(tmp_path).path.parent.mkdir(exist_ok=True)
        store(tmp_path).path.write_text(text)
        assert [entry.key for entry in loaded(tmp_path).workloads] == [decode().key]


def test_a_file_that_goes_bad_before_saving_is_set_aside_too(tmp_path: Path) -> None:
    store(tmp_path).save(run_file(result(decode(1))))
    store(tmp_path).path.write_text("{")
    (note,) = store(tmp_path).save(run_file(result(decode(2))))
    assert "llama.json.bad-1" in note
    assert [w.key for w in loaded(tmp_path).workloads] == [decode(2).key]


def test_a_file_repaired_meanwhile_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process saves a good file between our reading a bad one and our getting the lock."""
    path = store(tmp_path).path
    path.parent.mkdir()
    path.write_text("{")
    real = cache.read_run
    calls = []

    def racing(read: Path) -> RunFile:
        calls.append(read)
        try:
            return real(read)
        finally:
            if len(calls) == 1:
                path.write_text(GOOD)

    monkeypatch.setattr(cache, "read_run", racing)
    run, notes = store(tmp_path).load()
    assert run == run_file(result())
    assert notes == []
    assert listing(tmp_path) == ["llama.json"]


def test_no_place_to_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path).path
    path.parent.mkdir()
    path.write_text("{")

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", read_only)
    with pytest.raises(CannotWrite, match="read-only file system"):
        store(tmp_path).load()
    assert path.read_text() == "{"


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CannotWrite):
        store(tmp_path).load()
    with pytest.raises(CannotWrite):
        store(tmp_path).save(run_file())


def test_a_full_disk_keeps_the_old_file_and_the_lock_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path).save(run_file(result()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_write_synced", full)
        with pytest.raises(CannotWrite, match="no space left on device"):
            store(tmp_path).save(run_file(result(decode(1))))
    assert loaded(tmp_path).workloads == (result(),)
    store(tmp_path).save(run_file(result(decode(1))))
    assert len(loaded(tmp_path).workloads) == 2
