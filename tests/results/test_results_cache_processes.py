"""Several processes on one cache: nothing is lost, also where one is killed or keeps the lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from cache_builders import listing, loaded, store
from filelock import FileLock
from result_builders import candidate, decode, result, run_file
from running import PATIENCE_S

from autotune_cli.errors import CannotWrite
from autotune_cli.results import cache
from autotune_cli.results.cache import merge
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import WorkloadResult

FORK = multiprocessing.get_context("fork")


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
