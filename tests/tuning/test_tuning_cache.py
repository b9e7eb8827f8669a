"""The cache from the outside: real runs on one tiny workload."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from running import TINY, Autotune, Finished

from autotune_cli.results.files import read_run
from autotune_cli.tuning import run

KEY = "topk.select 2 x 4096"


def reused(finished: Finished) -> list[bool]:
    workloads: Any = finished.summary["workloads"]
    return [workload["reused"] for workload in workloads]


def notes(finished: Finished) -> list[str]:
    return [line for line in finished.err.splitlines() if line.startswith("note: ")]


@pytest.fixture(scope="module")
def program(shared: Callable[[], Autotune]) -> Autotune:
    return shared()


@pytest.fixture(scope="module")
def first(program: Autotune) -> Finished:
    return program.tune(*TINY)


def test_a_run_says_how_and_where_it_measured(first: Finished) -> None:
    """One place a round on a CPU, which has no card."""
    assert first.run.settings.places == 1
    assert {result.identity["places"] for result in first.run.workloads} == {"1"}
    assert {result.card for result in first.run.workloads} == {None}


def test_first_call_measures_and_keeps(first: Finished, program: Autotune) -> None:
    assert reused(first) == [False]
    assert notes(first) == []  # that nothing was cached yet is no news
    assert first.path == program.root / "cache" / "cpu.json"
    assert first.run.kind == "cache"
    assert not list(program.root.glob("runs/*"))


def test_second_call_measures_and_writes_nothing(first: Finished, program: Autotune) -> None:
    """Its folder may be a read-only one: neither a journal is made there, nor a lock, nor a newer copy of the same."""
    (program.root / "cache" / ".cpu.json.lock").unlink()
    (program.root / "runs").rmdir()
    everything = {path: path.stat().st_mtime_ns for path in program.root.rglob("*")}
    before = first.path.read_bytes()
    (program.root / "cache").chmod(0o555)  # root may write all the same
    program.root.chmod(0o555)
    try:
        second = program.tune(*TINY)
    finally:
        for folder in (program.root, program.root / "cache"):
            folder.chmod(0o755)
    assert reused(second) == [True]
    assert {path: path.stat().st_mtime_ns for path in program.root.rglob("*")} == everything
    assert second.run.workloads == json_equal(before).workloads
    shown = program("tune", *TINY, code=0)
    assert "nothing to measure: cache/cpu.json" in shown.out
    assert "1 from the cache" in shown.out


def json_equal(data: bytes) -> Any:
    from autotune_cli.results.schema import RunFile

    return RunFile.model_validate_json(data)


@pytest.mark.parametrize(
    ("options", "variables", "reason"),
    [
        (("--seed", "5"), {}, "seed 0 -> 5"),
        (
            ("--backend", "torch.topk"),
            {},
            r"candidates: -\w+\..*, -\d+ more",
        ),
        (("--rounds", "4"), {}, "rounds 3 -> 4"),
        ((), {"TORCH_NEW": "x"}, "variable TORCH_NEW not set -> x"),
    ],
)
def test_a_change_is_measured_again_and_explained(
    first: Finished, program: Autotune, options: tuple[str, ...], variables: dict[str, str], reason: str
) -> None:
    kept = first.path.read_bytes()
    try:
        again = program.with_variables(**variables).tune(*TINY, *options)
    finally:
        first.path.write_bytes(kept)
    assert reused(again) == [False]
    (note,) = notes(again)
    assert re.search(rf"^note: {KEY} .*: measured again: {reason}$", note), note


def test_only_what_is_new_is_measured(first: Finished, program: Autotune) -> None:
    both = (*TINY[:2], "--batch", "2,3", *TINY[4:])
    finished = program.tune(*both, "--explain-miss")
    assert reused(finished) == [True, False]
    (note,) = notes(finished)
    assert "topk.select 3 x 4096" in note
    assert note.endswith("measured again: not in the cache")


def test_no_cache_neither_reads_nor_writes_it(first: Finished, program: Autotune) -> None:
    before = {path: path.read_bytes() for path in program.root.glob("cache/*")}
    finished = program.tune(*TINY, "--no-cache")
    assert reused(finished) == [False]
    assert re.fullmatch(r"cpu\.\d{8}_\d{6}\.json", finished.path.name)
    assert finished.path.parent == program.root / "runs"
    assert finished.run.kind == "run"
    assert {path: path.read_bytes() for path in program.root.glob("cache/*")} == before


NEWER = json.dumps({"schema_version": 999})
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda data: data[: len(data) // 2], "cut short: the JSON ends in the middle"),
    "newer schema": (lambda data: NEWER.encode(), "schema version 999 is newer"),
    "wrong types": (lambda data: data.replace(b'"rough_us": ', b'"rough_us": "x', 1), "cpu.json"),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder"])
def test_a_damaged_cache_is_set_aside_and_tuning_goes_on(first: Finished, autotune: Autotune, damage: str) -> None:
    cache = autotune.root / "cache"
    cache.mkdir()
    (cache / "cpu.json.bad-1").write_text("an older one")
    if damage == "a folder":
        (cache / "cpu.json").mkdir()
        reason = "is a directory"
    else:
        change, reason = DAMAGE[damage]
        (cache / "cpu.json").write_bytes(change(first.path.read_bytes()))
    finished = autotune.tune(*TINY)
    (note,) = notes(finished)
    assert reason in note
    assert note.endswith("kept as cpu.json.bad-2, tuning starts without a cache")
    assert (cache / "cpu.json.bad-1").read_text() == "an older one"
    assert (cache / "cpu.json.bad-2").exists()
    assert read_run(cache / "cpu.json").complete
    assert finished.path == cache / "cpu.json"


def test_two_runs_in_one_second_are_two_files(usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, 21, 9, 30, 12, tzinfo=tz)

    monkeypatch.setattr(run, "datetime", Stopped)
    paths = [usage("tune", "--json", "--no-cache", *TINY).path for _ in range(2)]
    assert [path.name for path in paths] == ["cpu.20261121_093012.json", "cpu.20261121_093012.2.json"]
    assert all(read_run(path).complete for path in paths)
    assert sorted(os.listdir(paths[0].parent)) == sorted(path.name for path in paths)


def test_roots_are_made(autotune: Autotune, tmp_path: Path) -> None:
    root = tmp_path / "a [b]" / "c"
    finished = autotune.with_variables(AUTOTUNE_ROOT=str(root))("tune", *TINY, code=0)
    assert (root / "cache" / "cpu.json").exists()
    assert f"wrote {root}/cache/cpu.json" in finished.out  # brackets are no markup
    assert os.listdir(autotune.root) == []
