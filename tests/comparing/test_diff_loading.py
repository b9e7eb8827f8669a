"""What diff loads is what read_run reads, and what only a second look shows is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_builders import session, write

from autotune_cli.comparing import loading
from autotune_cli.results.files import dump_run, read_run

Usage = Callable[..., Any]
TEXT = dump_run(session(1))
VERSION = '"schema_version": 2,'
FLOOR = '"noise_floor": 0.002,'
LINE = TEXT[: TEXT.index(FLOOR)].count("\n") + 1


def test_a_good_file_is_what_read_run_makes_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", session(1))
    assert loading.load(path).content == read_run(path) == session(1)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + TEXT,
        " \r\n\t" + TEXT.replace(VERSION, '"schema_version"  :\n2  ,'),
        TEXT.replace("{", '{"name": "x",', 1),
        TEXT.replace(VERSION, "").replace(FLOOR, f"{FLOOR} {VERSION}"),
        TEXT.replace(VERSION, '"schema_version": 99, "schema_version": 2,'),
        TEXT.replace('"name": "llama"', '"name": "NaN \\u0031"'),
    ],
    ids=["bom", "white space", "another field first", "version last", "the last version counts", "texts"],
)
def test_any_way_of_writing_a_file_is_read(tmp_path: Path, text: str) -> None:
    assert text != TEXT
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert loading.load(path).content == read_run(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace(VERSION, '"schema_version": true,'), "schema_version: must be a whole number"),
        (TEXT.replace(VERSION, '"schema_version": 2.0,'), "schema_version: must be a whole number"),
        (TEXT.replace(VERSION, ""), "it has no schema_version"),
        (TEXT.replace(VERSION, f"{VERSION} {VERSION.replace('2', 'true')}"), "must be a whole number"),
        (TEXT.replace(VERSION, f'{VERSION} "schema_versio\\u006e": true,'), "must be a whole number"),
        (TEXT.replace(VERSION, f'{VERSION} "schema_version": 99,'), "schema version 99 is newer"),
        # Overwritten by a good value further down, and yet no JSON.
        (TEXT.replace(FLOOR, f'"noise_floor": NaN, {FLOOR}'), f"line {LINE}: not JSON: NaN is not a JSON number"),
        (TEXT.replace(FLOOR, f'"noise_floor": -Infinity, {FLOOR}'), "-Infinity is not a JSON number"),
    ],
    ids=["true", "a float", "none", "twice", "twice with escapes", "a newer one last", "nan", "infinite"],
)
def test_what_only_a_second_look_shows(usage: Usage, tmp_path: Path, text: str, message: str) -> None:
    assert text != TEXT
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    write(tmp_path / "good.json", session(2))
    done = usage("diff", "good.json", "bad.json")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
