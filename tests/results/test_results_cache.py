from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from filelock import FileLock
from result_builders import KEYS, SOURCES, candidate, decode, environment, result, run_file, settings
from running import PATIENCE_S

from autotune_cli import reading
from autotune_cli.errors import BadName, CannotWrite
from autotune_cli.results import cache, files
from autotune_cli.results.cache import CacheStore, lookup, merge
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.identity import environment_key, fits_key, identity
from autotune_cli.results.schema import Ceilings, RunFile, WorkloadResult

FORK = multiprocessing.get_context("fork")
H200, B200 = environment(), environment("NVIDIA B200", capability=(10, 0))


def store(root: Path, name: str = "llama") -> CacheStore:
    return CacheStore(root, name)


def listing(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root / "cache") if not name.endswith(".lock"))


def loaded(root: Path) -> RunFile:
    run, notes = store(root).load()
    assert notes == []
    assert run is not None
    return run


# --- keeping ---------------------------------------------------------------------------------------------------------


def test_nothing_cached(tmp_path: Path) -> None:
    assert store(tmp_path).load() == (None, [])
    assert os.listdir(tmp_path) == []  # looking makes no folder


def test_save_and_load(tmp_path: Path) -> None:
    assert store(tmp_path).save(run_file(result(), name="other")) == []
    run = loaded(tmp_path)
    assert (run.kind, run.name) == ("cache", "llama")
    assert run.workloads == (result(),)
    assert listing(tmp_path) == ["llama.json"]


def test_other_workloads_and_devices_stay(tmp_path: Path) -> None:
    store(tmp_path).save(run_file(result(decode(1)), result(decode(2))))
    store(tmp_path).save(run_file(result(decode(2), B200, us=5.0), envs=(B200,)))
    store(tmp_path).save(run_file(result(decode(2), us=7.0)))
    run = loaded(tmp_path)
    kept = [
        (w.workload.batch, run.environments[w.environment].device, w.candidates[0].median_us) for w in run.workloads
    ]  # type: ignore[union-attr]
    assert kept == [(1, "NVIDIA H200", 491.25), (2, "NVIDIA H200", 7.0), (2, "NVIDIA B200", 5.0)]
    assert set(run.environments) == {environment_key(H200), environment_key(B200)}
    assert run.environment == environment_key(H200)


def test_environments_that_nothing_names_are_dropped(tmp_path: Path) -> None:
    old, new = environment(driver="1"), environment(driver="2")
    store(tmp_path).save(run_file(result(decode(1), old), result(decode(2), old), envs=(old,)))
    store(tmp_path).save(run_file(result(decode(1), new), envs=(new,)))
    assert set(loaded(tmp_path).environments) == {environment_key(old), environment_key(new)}
    store(tmp_path).save(run_file(result(decode(2), new), envs=(new,)))
    assert set(loaded(tmp_path).environments) == {environment_key(new)}


def test_reused_results_do_not_hide_newer_ones() -> None:
    stored = run_file(result(us=2.0))
    merged = merge(stored, run_file(result(us=1.0, reused=True)), "x")
    assert merged.workloads == (result(us=2.0),)
    alone = merge(None, run_file(result(us=1.0, reused=True)), "x")
    assert alone.workloads == (result(us=1.0),)  # no longer "reused in this run"
    unfinished = merge(run_file(result(us=2.0, stopped="budget")), run_file(result(us=1.0, reused=True)), "x")
    assert unfinished.workloads == (result(us=1.0),)


@pytest.mark.parametrize("changes", [{"stopped": "budget"}, {"stopped": "interrupted"}, {"choice": None}])
def test_an_unfinished_result_does_not_hide_a_finished_one(changes: dict[str, object]) -> None:
    finished, unfinished = result(us=2.0), result(us=1.0, **changes)
    assert merge(run_file(finished), run_file(unfinished), "x").workloads == (finished,)
    assert merge(run_file(unfinished), run_file(finished), "x").workloads == (finished,)
    other = unfinished.model_copy(update={"identity": {**unfinished.identity, "driver": "9"}})
    assert merge(run_file(finished), run_file(other), "x").workloads == (other,)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(BadName):
        CacheStore(tmp_path, "../x")


# --- lookup ----------------------------------------------------------------------------------------------------------


def ident(driver: str = "580.1", device: str = "NVIDIA H200") -> dict[str, str]:
    return identity(decode(), environment(device, driver=driver), settings(), SOURCES, KEYS)


def test_a_hit() -> None:
    entry = result()
    assert lookup(run_file(result(decode(1)), entry), entry.key, ident()) == (entry, [])


def test_misses_explain_themselves() -> None:
    entry = result()
    assert lookup(None, entry.key, ident()) == (None, ["not in the cache"])
    assert lookup(run_file(result(decode(1))), entry.key, ident()) == (None, ["not in the cache"])
    assert lookup(run_file(entry), entry.key, ident("580.2")) == (None, ["driver 580.1 -> 580.2"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stopped": "budget"}, "the cached race ran out of budget"),
        ({"stopped": "interrupted"}, "the cached race was interrupted"),
        ({"choice": None}, "no candidate was right when it was cached"),
    ],
)
def test_unfinished_results_are_no_hit(changes: dict[str, object], reason: str) -> None:
    entry = result(**changes)
    assert lookup(run_file(entry), entry.key, ident()) == (None, [reason])


def test_the_same_device_is_explained_first() -> None:
    near = result(decode(), B200)
    far = result(decode(), environment(driver="1", cuda="2", variables={}))
    run = run_file(near, far, envs=(B200, environment(driver="1", cuda="2", variables={})))
    assert lookup(run, near.key, ident()) == (
        None,
        ["driver 1 -> 580.1", "cuda 2 -> 13.0", "variable SGLANG_X not set -> 1"],
    )
    assert lookup(run, near.key, near.identity) == (near, [])


# --- bad files -------------------------------------------------------------------------------------------------------

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
        patched.setattr(files, "_write_synced", full)
        with pytest.raises(CannotWrite, match="no space left on device"):
            store(tmp_path).save(run_file(result(decode(1))))
    assert loaded(tmp_path).workloads == (result(),)
    store(tmp_path).save(run_file(result(decode(1))))
    assert len(loaded(tmp_path).workloads) == 2


def test_a_lock_that_is_not_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LOCK_TIMEOUT_S", 0.1)
    (tmp_path / "cache").mkdir()
    with (
        FileLock(tmp_path / "cache" / ".llama.json.lock"),
        pytest.raises(CannotWrite, match="another process has held"),
    ):
        store(tmp_path).save(run_file())


def test_setting_aside_needs_the_lock_and_reading_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LOCK_TIMEOUT_S", 0.1)
    store(tmp_path).save(run_file(result()))
    with FileLock(tmp_path / "cache" / ".llama.json.lock"):
        assert loaded(tmp_path).workloads == (result(),)
        store(tmp_path).path.write_text("{")
        with pytest.raises(CannotWrite, match="another process has held"):
            store(tmp_path).load()
    assert listing(tmp_path) == ["llama.json"]


# --- several processes -----------------------------------------------------------------------------------------------


def _save_own(root: Path, worker: int, count: int, start: Barrier) -> None:
    start.wait()
    for index in range(count):
        store(root).save(run_file(result(decode(1 + worker * count + index))))


def test_nothing_is_lost_between_processes(tmp_path: Path) -> None:
    start = FORK.Barrier(6)
    workers = [FORK.Process(target=_save_own, args=(tmp_path, worker, 6, start)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_S)
        assert worker.exitcode == 0
    assert sorted(w.workload.batch for w in loaded(tmp_path).workloads) == list(range(1, 37))  # type: ignore[union-attr]
    assert listing(tmp_path) == ["llama.json"]


def test_nothing_is_lost_between_threads(tmp_path: Path) -> None:
    def save(batch: int) -> None:
        store(tmp_path).save(run_file(result(decode(batch))))

    threads = [threading.Thread(target=save, args=(batch,)) for batch in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded(tmp_path).workloads) == 12


def _big(us: float) -> WorkloadResult:
    many = tuple(candidate(f"k{i}", us=us, count=20) for i in range(60))
    return result(candidates=many, choice=None)


def _save_and_die(root: Path, point: str, share: float) -> None:
    """Killed after a share of the bytes, once all are synced, before the file is in its place, after that."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    sync, replace = os.fsync, os.replace
    if point == "write":
        os.fsync = lambda descriptor: die(os.ftruncate(descriptor, int(share * os.fstat(descriptor).st_size)))  # type: ignore
    elif point == "sync":
        os.fsync = lambda descriptor: die(sync(descriptor))  # type: ignore[assignment]
    elif point == "place":
        os.replace = die
    else:
        os.replace = lambda source, target: die(replace(source, target))  # type: ignore[assignment]
    store(root).save(run_file(_big(2.0)))


@pytest.mark.parametrize("point", ["write", "sync", "place", "end"])
def test_a_kill_in_the_middle_of_a_save_leaves_a_whole_file(tmp_path: Path, point: str) -> None:
    path = store(tmp_path).path
    old, new = (merge(None, run_file(_big(us)), "llama") for us in (1.0, 2.0))
    store(tmp_path).save(run_file(_big(1.0)))
    for share in (0.0, 0.5, 0.9):
        process = FORK.Process(target=_save_and_die, args=(tmp_path, point, share))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert read_run(path) == (new if point == "end" else old)
        assert len(listing(tmp_path)) == (1 if point == "end" else 2)
    assert store(tmp_path).save(run_file(_big(2.0))) == []  # the dead one's lock is free
    assert listing(tmp_path) == ["llama.json"]  # and its temporary file is gone
