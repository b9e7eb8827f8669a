from __future__ import annotations

import multiprocessing
import os
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from result_builders import header, result, run_file
from running import PATIENCE_S

from autotune_cli.errors import BadName, CannotWrite
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.journal import Journal
from autotune_cli.results.runs import (
    RunName,
    check_name,
    latest,
    newest_runs,
    previous,
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
        reserve(tmp_path, name)
    assert os.listdir(tmp_path) == []


@given(st.text(max_size=120))
@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_is_refused_or_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    try:
        path = reserve(tmp_path, name)
    except BadName:
        return
    assert path.resolve().parent == (tmp_path / "runs").resolve()
    path.write_text("x")
    assert run_name(path) is not None
    assert path in newest_runs(tmp_path, name)


def reserve(root: Path, name: str = "llama") -> Path:
    """The path of a new run, whose owner is then killed."""
    with Journal.create(root, header(name=name), NOW) as journal:
        return journal.run_path


def test_the_name_of_a_run(tmp_path: Path) -> None:
    first = Journal.create(tmp_path, header(), NOW)
    assert first.run_path == tmp_path / "runs" / "llama.20261121_093012.json"
    assert not first.run_path.exists()  # reserved, but not there before it is whole
    second = Journal.create(tmp_path, header(), NOW)
    assert second.run_path.name == "llama.20261121_093012.2.json"
    for journal in (first, second):
        write_run(journal.run_path, run_file(result()))
        journal.finish()
    assert reserve(tmp_path).name == "llama.20261121_093012.3.json"
    assert reserve(tmp_path, "qwen").name == "qwen.20261121_093012.json"


def test_a_written_run_leaves_nothing_else(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, header(), NOW)
    killed = journal.run_path.with_name(f".{journal.run_path.name}.0123456789abcdef.tmp")
    killed.write_text("{")
    assert write_run(journal.run_path, run_file(result())) == run_file(result())
    journal.finish()
    assert os.listdir(tmp_path / "runs") == [journal.run_path.name]
    assert read_run(journal.run_path) == run_file(result())


def test_a_run_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    path = reserve(tmp_path)
    first = run_file(result(), wall_s=14.0)
    write_run(path, first)
    before = path.stat()
    assert write_run(path, run_file(result(), wall_s=0.5)) == first
    assert path.stat().st_ino == before.st_ino
    # What an interruption left is completed; so is a file that can't be read.
    for stored in (dump_run(run_file(result(), complete=False)), dump_run(run_file(result(us=1.0))), "{"):
        path.write_text(stored)
        write_run(path, first)
        assert read_run(path) == first


def test_a_link_in_the_way_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "llama.20261121_093012.json").symlink_to("nowhere")
    assert reserve(tmp_path).name == "llama.20261121_093012.2.json"
    assert len(os.listdir(tmp_path / "runs")) == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(CannotWrite, match="runs: not a directory"):
        reserve(tmp_path)


def _reserve_and_write(root: Path, count: int, start: Barrier, queue: multiprocessing.Queue[str]) -> None:
    start.wait()
    for index in range(count):
        journal = Journal.create(root, header(), NOW)
        # Some are written at once, so that others meet a journal that becomes a run.
        if index % 2:
            write_run(journal.run_path, run_file())
            journal.finish()
        queue.put(journal.run_path.name)


def test_processes_at_the_same_instant_get_different_names(tmp_path: Path) -> None:
    start, queue = FORK.Barrier(6), FORK.Queue()
    workers = [FORK.Process(target=_reserve_and_write, args=(tmp_path, 20, start, queue)) for _ in range(6)]
    for worker in workers:
        worker.start()
    names = [queue.get(timeout=PATIENCE_S) for _ in range(120)]
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
