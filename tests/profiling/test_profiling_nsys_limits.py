"""Exports of Nsight Systems have limits: of kinds of tables, types, sizes and time."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limit_traces import export

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers import sqlite
from autotune_cli.profiling.readers.finding import read_trace

Usage = Callable[..., Any]


def test_an_export_through_a_pipe_is_refused(tmp_path: Path, usage: Usage) -> None:
    data = export(tmp_path / "r.sqlite").read_bytes()
    read_end, write_end = os.pipe()
    os.write(write_end, data[:4096])
    os.close(write_end)
    done = usage("profile", "--paged", "--from-trace", f"/dev/fd/{read_end}")
    os.close(read_end)
    assert (done.code, "an SQLite file can't be read from a pipe" in done.err) == (2, True)


LOOSE = (
    "CREATE TABLE t_ AS SELECT * FROM {0}",
    "DROP TABLE {0}",
    "ALTER TABLE t_ RENAME TO {0}",
)  # columns without types


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [
        ("StringIds", "value", "text"),
        ("StringIds", "id", "number"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "correlationId", "number"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "streamId", "number"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "deviceId", "number"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "globalPid", "number"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "start", "no start or no end"),
        ("CUPTI_ACTIVITY_KIND_MEMCPY", "copyKind", "number"),
        ("CUPTI_ACTIVITY_KIND_RUNTIME", "globalTid", "number"),
        ("CUPTI_ACTIVITY_KIND_RUNTIME", "end", "no start or no end"),
        ("NVTX_EVENTS", "text", "text"),
        ("NVTX_EVENTS", "textId", "number"),
        ("NVTX_EVENTS", "globalTid", "number"),
        ("TARGET_INFO_GPU", "name", "text"),
    ],
)
@pytest.mark.parametrize("value", ["7", "'x'", "x'00ff'", "NULL", "9e999"])
def test_columns_of_another_type_are_refused_or_read(
    tmp_path: Path, usage: Usage, table: str, column: str, said: str, value: str
) -> None:
    loose = [part.format(table) for part in LOOSE]
    export(tmp_path / "r.sqlite", *loose, f'UPDATE {table} SET "{column}" = {value}')
    done = usage("profile", "--paged", "--from-trace", "r.sqlite", "--format", "json")
    assert done.code in (0, 1, 2, 3)
    assert (done.code == 2) == (len(done.err.splitlines()) == 1 and not done.out)
    if value == "x'00ff'" and column != "id":
        assert said in done.err


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            ("ALTER TABLE StringIds RENAME TO s", "CREATE VIEW StringIds AS SELECT * FROM s"),
            "StringIds is no plain table",
        ),
        (
            (
                "DROP TABLE NVTX_EVENTS",
                "CREATE VIEW NVTX_EVENTS AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
                "SELECT x AS start, x AS end, 59 AS eventType, 'x' AS text, 0 AS globalTid, 0 AS textId FROM c",
            ),
            "NVTX_EVENTS is no plain table",
        ),
        (("DROP TABLE TARGET_INFO_GPU", "CREATE VIRTUAL TABLE TARGET_INFO_GPU USING fts5(name)"), "no plain table"),
        (
            ("ALTER TABLE StringIds ADD COLUMN more GENERATED ALWAYS AS (hex(zeroblob(200000000))) VIRTUAL",),
            "StringIds has generated columns",
        ),
    ],
    ids=["view", "endless view", "virtual table", "generated column"],
)
def test_code_in_the_place_of_data_is_refused(tmp_path: Path, statements: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadTrace, match=said):
        read_trace(export(tmp_path / "r.sqlite", *statements))


def test_a_text_of_megabytes_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "r.sqlite", "UPDATE StringIds SET value = hex(zeroblob(1000000))")
    with pytest.raises(BadTrace, match="damaged SQLite file: string or blob too big"):
        read_trace(path)


def test_more_rows_than_the_file_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pages that are the children of many others have them."""
    monkeypatch.setattr(sqlite, "_LEAST_ROW", 1 << 20)
    with pytest.raises(BadTrace, match="more rows than it has room for"):
        read_trace(export(tmp_path / "r.sqlite"))


def test_a_query_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE_S", -1.0)
    monkeypatch.setattr(sqlite, "_STEPS", 1)
    with pytest.raises(BadTrace, match="takes far too long"):
        read_trace(export(tmp_path / "r.sqlite"))


def test_ctrl_c_in_a_query_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlite._Clock, "tick", interrupted)
    monkeypatch.setattr(sqlite, "_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        read_trace(export(tmp_path / "r.sqlite"))


def test_an_export_is_read_without_touching_its_folder(tmp_path: Path) -> None:
    """An export in write-ahead mode would have SQLite make two files beside it, or refuse a read-only folder."""
    path = export(tmp_path / "r.sqlite")
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    before = path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["r.sqlite"]
    assert len(read_trace(path).gpu.name) == 2
    assert sorted(os.listdir(tmp_path)) == ["r.sqlite"]
    assert path.read_bytes() == before
    assert stat.S_ISREG(path.stat().st_mode)


def test_a_damaged_schema_that_is_no_text(tmp_path: Path) -> None:
    """sqlite3 can't make text of SQLite's own message on it."""
    path = export(tmp_path / "r.sqlite")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE StringIds", b"CREATE T\xc5BLE StringIds"))
    with pytest.raises(BadTrace, match="a damaged SQLite file"):
        read_trace(path)
