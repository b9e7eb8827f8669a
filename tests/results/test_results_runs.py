from __future__ import annotations

import multiprocessing
import os
import time
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from result_builders import result, run_file

from autotune_cli.errors import BadName, CannotWrite
from autotune_cli.results.files import read_run
from autotune_cli.results.runs import (
    RunName,
    check_name,
    latest,
    new_run_path,
    newest_runs,
    previous,
    release,
    run_name,
    write_run,
)

NOW = datetime(2026, 11, 21, 9, 30, 12)
FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize(
    "name", ["llama-3.1-8b", "a", "x" * 100, "gemma 2", "a.json", "日本語", "-n", "x.20261121_093012"]
)
def test_good_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/b",
        "/nowhere/x",
        "a\\b",
        "..",
        "../x",
        "a..b",
        ".",
        ".hidden",
        "a\nb",
        "a\0b",
        "\x1b[31m",
        "a\u202eb",
        "\u2028",
        "\udcff",
        "x" * 101,
        "語" * 100,
        " a",
        "a ",
        " ",
        "\x7f",
    ],
)
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadName):
        check_name(name)
    with pytest.raises(BadName):
        new_run_path(tmp_path, name, NOW)
    assert os.listdir(tmp_path) == []


@given(st.text(max_size=120))
@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_is_refused_or_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    try:
        path = new_run_path(tmp_path, name, NOW)
    except BadName:
        return
    assert path.resolve().parent == (tmp_path / "runs").resolve()
    path.write_text("x")
    assert run_name(path) is not None
    assert path in newest_runs(tmp_path, name)


def test_the_name_of_a_run(tmp_path: Path) -> None:
    path = new_run_path(tmp_path, "llama", NOW)
    assert path == tmp_path / "runs" / "llama.20261121_093012.json"
    assert not path.exists()  # reserved, but not there before it is whole
    second = new_run_path(tmp_path, "llama", NOW)
    assert second.name == "llama.20261121_093012.2.json"
    write_run(path, run_file(result()))
    write_run(second, run_file(result()))
    assert new_run_path(tmp_path, "llama", NOW).name == "llama.20261121_093012.3.json"
    assert new_run_path(tmp_path, "qwen", NOW).name == "qwen.20261121_093012.json"


def test_a_written_run_leaves_nothing_else(tmp_path: Path) -> None:
    path = new_run_path(tmp_path, "llama", NOW)
    write_run(path, run_file(result()))
    assert os.listdir(tmp_path / "runs") == [path.name]
    assert read_run(path) == run_file(result())


def test_a_released_path_is_free_again(tmp_path: Path) -> None:
    path = new_run_path(tmp_path, "llama", NOW)
    release(path)
    release(path)
    assert new_run_path(tmp_path, "llama", NOW) == path


def test_reservations_of_the_dead_go_after_a_day(tmp_path: Path) -> None:
    for age_h in (1, 25):
        path = new_run_path(tmp_path, f"a{age_h}", NOW)
        os.utime(path.with_name(f".{path.name}.reserved"), (time.time() - age_h * 3600,) * 2)
    new_run_path(tmp_path, "b", NOW)
    assert sorted(os.listdir(tmp_path / "runs")) == [
        ".a1.20261121_093012.json.reserved",
        ".b.20261121_093012.json.reserved",
    ]


def test_a_link_in_the_way_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "llama.20261121_093012.json").symlink_to("nowhere")
    assert new_run_path(tmp_path, "llama", NOW).name == "llama.20261121_093012.2.json"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(CannotWrite, match="runs: not a directory"):
        new_run_path(tmp_path, "llama", NOW)


def _reserve_and_write(root: Path, count: int, start: Barrier, queue: multiprocessing.Queue[str]) -> None:
    start.wait()
    for index in range(count):
        path = new_run_path(root, "llama", NOW)
        # Some are written at once, so that others meet a reservation that becomes a file.
        if index % 2:
            write_run(path, run_file())
        queue.put(path.name)


def test_processes_at_the_same_instant_get_different_names(tmp_path: Path) -> None:
    start, queue = FORK.Barrier(6), FORK.Queue()
    workers = [FORK.Process(target=_reserve_and_write, args=(tmp_path, 20, start, queue)) for _ in range(6)]
    for worker in workers:
        worker.start()
    names = [queue.get(timeout=30) for _ in range(120)]
    for worker in workers:
        worker.join()
    assert len(set(names)) == 120
    numbers = sorted(run_name(Path(name)).number for name in names)  # type: ignore[union-attr]
    assert numbers == list(range(1, 121))


def test_parts_of_a_run_name() -> None:
    assert run_name(Path("a/llama-3.1.20261121_093012.json")) == RunName("llama-3.1", "20261121_093012", 1)
    assert run_name(Path("x.20261121_093012.20261121_093013.12.json")) == RunName(
        "x.20261121_093012", "20261121_093013", 12
    )
    for other in ("llama.json", "x.20261121_093012.0.json", ".x.20261121_093012.json", "x.20261121_093012.json.bad-1"):
        assert run_name(Path(other)) is None


def test_newest_latest_previous(tmp_path: Path) -> None:
    assert newest_runs(tmp_path) == []
    assert latest(tmp_path) is None
    assert previous(tmp_path) is None
    folder = tmp_path / "runs"
    folder.mkdir()
    in_order = [
        "a.20261122_000000.json",
        "b.20261121_093012.10.json",
        "b.20261121_093012.2.json",
        "b.20261121_093012.json",
        "a.20251121_093012.json",
    ]
    for name in sorted(in_order):
        (folder / name).touch()
    for name in (".a.20271121_093012.json.reserved", ".a.20271121_093012.journal", "a.json", "notes.txt"):
        (folder / name).touch()
    assert [path.name for path in newest_runs(tmp_path)] == in_order
    assert [path.name for path in newest_runs(tmp_path, "b")] == in_order[1:4]
    assert latest(tmp_path) == folder / in_order[0]
    assert latest(tmp_path, "b") == folder / in_order[1]
    assert previous(tmp_path) == folder / in_order[4]
    assert previous(tmp_path, "b") == folder / in_order[2]
    assert previous(tmp_path, "c") is None
