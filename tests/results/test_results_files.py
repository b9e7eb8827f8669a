"""Result files come back as they were written; what is no run is refused, with its position."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from result_builders import candidate, decode, result, run_file, runs

from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.kernels.workload import OPERATIONS
from autotune_cli.plain_text import shown
from autotune_cli.results import upgrade
from autotune_cli.results.atomic import write_atomic
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.schema import RunFile

GOOD = run_file(result())
TEXT = dump_run(GOOD)


def refused(folder: Path, data: bytes | str) -> str:
    path = folder / "x.json"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(BadFile) as caught:
        read_run(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def edited(change: Callable[[Any], None]) -> str:
    document = json.loads(TEXT)
    change(document)
    return json.dumps(document)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs())
def test_round_trip(tmp_path: Path, run: RunFile) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, dump_run(run))
    again = read_run(path)
    assert again == run
    assert dump_run(again) == path.read_text(encoding="utf-8")  # 1 and 1.0 and True stay what they are


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"median_us": 1e300, "interval_us": None}, "median_us: 1e+300 us is no time of a kernel"),
        ({"rough_us": 1e-7}, "rough_us: 1e-07 us is no time of a kernel"),
        ({"rounds_us": [491.0, 1e13, 492.0]}, "rounds_us: 1e+13 us is no time of a kernel"),
        ({"interval_us": [491.0, 1e300]}, "interval_us: 1e+300 us is no time of a kernel"),
        ({"interval_us": [491.5, 490.5]}, "interval_us: 491.5 .. 490.5 us does not hold the median, 491.25 us"),
        ({"interval_us": [500.0, 501.0]}, "interval_us: 500 .. 501 us does not hold the median, 491.25 us"),
    ],
)
def test_times_that_can_be_none_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    text = edited(lambda document: document["workloads"][0]["candidates"][0].update(fields))
    assert refused(tmp_path, text) == f"workloads[0].candidates[0].{message}"


def test_short_records_have_a_line_each() -> None:
    assert json.loads(TEXT) == json.loads(GOOD.model_dump_json())
    assert '"rounds_us": [491.25, 491.373456789, 491.496913578],\n' in TEXT
    long = dump_run(run_file(result(candidates=(candidate(count=200),), choice=None)))
    rounds_line = next(line for line in long.splitlines() if '"rounds_us"' in line)
    assert rounds_line.count(",") >= 199


def test_size_of_a_large_run() -> None:
    kernels = tuple(GOOD.workloads[0].candidates[0].kernels * 2)
    many = tuple(candidate(f"flashinfer.decode(path=fa3,page_size={i})", count=10, kernels=kernels) for i in range(40))
    large = run_file(*(result(decode(batch), candidates=many, choice=None) for batch in range(1, 25)))
    assert len(dump_run(large)) < 2_000_000


def test_text_that_is_not_unicode_is_written_readably(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x.json", dump_run(run_file(command=("tune", "caf\udce9", "日本 \x00\x1f\u2028"))))
    assert read_run(tmp_path / "x.json").command == ("tune", "caf?", "日本 \x00\x1f\u2028")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["workloads"][0]["candidates"][0]["rounds_us"].__setitem__(2, -1),
            "workloads[0].candidates[0].rounds_us[2]: must be a number greater than 0",
        ),
        (
            lambda d: d["workloads"][0]["candidates"][0]["rounds_us"].__setitem__(2, "3.5"),
            "workloads[0].candidates[0].rounds_us[2]: must be a number",
        ),
        (lambda d: d["settings"].__setitem__("rounds", 1.5), "settings.rounds: must be a whole number"),
        (lambda d: d["settings"].__setitem__("rounds", -1), "settings.rounds: must be a number of at least 0"),
        (lambda d: d["settings"].__setitem__("rounds", True), "settings.rounds: must be a whole number"),
        (lambda d: d["settings"].pop("seed"), "settings.seed: is missing"),
        (lambda d: d["settings"].__setitem__("sed", 1), "settings.sed: is not a known field"),
        (lambda d: d["settings"].__setitem__("l2", "tepid"), "settings.l2: must be 'cold' or 'warm'"),
        (lambda d: d.__setitem__("workloads", {}), "workloads: must be a list"),
        (lambda d: d.__setitem__("settings", []), "settings: must be an object"),
        (lambda d: d.__setitem__("name", 5), "name: must be text"),
        (lambda d: d.__setitem__("complete", "yes"), "complete: must be true or false"),
        (
            lambda d: d["workloads"][0]["workload"].__setitem__("batch", 0),
            "workloads[0].workload.batch: must be a number greater than 0",
        ),
        (
            lambda d: d["workloads"][0]["workload"].__setitem__("operation", "attention.foo"),
            f"workloads[0].workload: operation must be one of {', '.join(map(repr, OPERATIONS))}",
        ),
        (lambda d: d["workloads"][0]["workload"].pop("operation"), "workloads[0].workload: operation is missing"),
        (
            lambda d: d["workloads"][0]["candidates"][0]["knobs"].__setitem__("a b", [1]),
            'workloads[0].candidates[0].knobs["a b"]: must be true or false, a whole number, a number or text',
        ),
        (
            lambda d: d["environments"].__setitem__("1a", {**d["environments"][d["environment"]], "capability": [9]}),
            'environments["1a"].capability[1]: is missing',
        ),
        (
            lambda d: d["workloads"].append(copy.deepcopy(d["workloads"][0])),
            "a workload is there twice for one device",
        ),
        (
            lambda d: d["workloads"][0]["candidates"][0].update(status="duplicate", same_as="gone"),
            "workloads[0]: flashinfer.decode(path=fa3,page_size=16): the same as gone, which is no candidate",
        ),
        (lambda d: d.__setitem__("environment", "gone"), "environment gone is named but not there"),
        (lambda d: d.__setitem__("schema_version", "1"), "schema_version: must be a whole number"),
        (lambda d: d.__setitem__("schema_version", True), "schema_version: must be a whole number"),
        (lambda d: d.__setitem__("schema_version", 0), "schema version 0 is unknown, this version reads 1, 2"),
        (lambda d: d.pop("schema_version"), "not a result file: it has no schema_version"),
    ],
)
def test_wrong_content_is_placed(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    assert refused(tmp_path, edited(change)) == message


def test_the_first_three_problems_are_shown(tmp_path: Path) -> None:
    said = refused(
        tmp_path, edited(lambda d: [d["settings"].__setitem__(key, None) for key in list(d["settings"])[:5]])
    )
    assert said.count("settings.") == 3
    assert said.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"[]", "not a result file: the JSON is no object"),
        (b"3", "not a result file: the JSON is no object"),
        (b"{}", "not a result file: it has no schema_version"),
        (b"hello", "not JSON: line 1, column 1: Expecting value"),
        (b'{"a": 1,\n b}', "not JSON: line 2, column 2: Expecting property name enclosed in double quotes"),
        (b'{"schema_version": 1} x', "not JSON: line 1, column 23: Extra data"),
        (b'{"a": NaN}', "not JSON: NaN is not a JSON number"),
        (b'{"a": -Infinity}', "not JSON: -Infinity is not a JSON number"),
        (b'{"a": "\xff"}', "not UTF-8 text: byte 0xff at 7"),
        (b"[" * 200_000, "not a result file: nested too deeply"),
        (b'{"a":' * 200_000, "not a result file: nested too deeply"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert refused(tmp_path, data) == message


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400, "1" * 5000])
def test_numbers_out_of_range(tmp_path: Path, number: str) -> None:
    said = refused(tmp_path, TEXT.replace("491.25,", f"{number},"))
    assert (
        "must be a finite number" in said or "a number with hundreds of digits" in said or "thousands of digits" in said
    )


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, edited(lambda d: d.__setitem__("name", "\ud800"))).startswith(
        "not JSON: half of a character at line 1"
    )


def test_a_truncated_file_is_refused_at_any_length(tmp_path: Path) -> None:
    for length in range(1, len(TEXT.rstrip()), 37):
        assert refused(tmp_path, TEXT[:length]).startswith(("cut short: ", "not JSON: "))


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(edited(lambda d: d.update(schema_version=7, novelty=1)))
    with pytest.raises(NewerSchema, match="schema version 7 is newer than 2"):
        read_run(tmp_path / "x.json")


def test_an_older_schema_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        upgrade.UPGRADES, 0, lambda d: {**{k: v for k, v in d.items() if k != "title"}, "name": d["title"]}
    )

    def age(document: dict[str, Any]) -> None:
        document["schema_version"] = 0
        document["title"] = document.pop("name")

    (tmp_path / "x.json").write_text(edited(age))
    upgraded = read_run(tmp_path / "x.json")
    assert (upgraded.name, len(upgraded.workloads)) == (GOOD.name, len(GOOD.workloads))
    # What is broken is refused after the upgrade, with its place, and what breaks the upgrade too.
    damaged = edited(lambda d: (age(d), d["settings"].pop("seed")))
    assert refused(tmp_path, damaged) == "settings.seed: is missing"
    assert refused(tmp_path, '{"schema_version": 0}') == "a damaged file of schema version 0: KeyError: 'title'"
    assert refused(tmp_path, edited(lambda d: d.update(schema_version=-1))) == (
        "schema version -1 is unknown, this version reads 0, 1, 2"
    )


def test_upgrades_are_chained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upgrade.UPGRADES, -1, lambda d: {**d, "name": d["name"] + "b"})
    monkeypatch.setitem(upgrade.UPGRADES, 0, lambda d: {**d, "name": d["name"] + "c"})
    (tmp_path / "x.json").write_text(edited(lambda d: d.update(schema_version=-1, name="a")))
    assert read_run(tmp_path / "x.json").name == "abc"


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_run(tmp_path / "x.json") == GOOD


def test_unreadable_paths(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, detail in [
        (tmp_path, "is a directory"),
        (tmp_path / "gone.json", "no such file or directory"),
        (tmp_path / "loop", "too many levels of symbolic links"),
        (tmp_path / ("x" * 300), "file name too long"),
        (tmp_path / "a\0b", "embedded null byte"),
    ]:
        with pytest.raises(BadFile) as caught:
            read_run(path)
        assert str(caught.value) == shown(f"{path}: {detail}")


JUNK = [None, True, -1, 0, 1.5, 1e308, "", "x", [], {}, [[]], {"a": 1}, "attention.decode"]


@pytest.mark.parametrize("seed", range(4))
def test_any_edit_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    """Whatever one or two places of a file are replaced by, there is a run or a BadFile, never a traceback."""
    draw = random.Random(seed)
    outcomes = set()
    for _ in range(250):
        document = json.loads(TEXT)
        for _ in range(draw.choice((1, 1, 2))):
            here: Any = document
            while True:
                key = draw.choice(list(here)) if isinstance(here, dict) else draw.randrange(len(here))
                if not isinstance(here[key], dict | list) or not here[key] or draw.random() < 0.15:
                    break
                here = here[key]
            if draw.random() < 0.2:
                del here[key]
            else:
                here[key] = draw.choice(JUNK)
            if not document:
                break
        (tmp_path / "x.json").write_text(json.dumps(document))
        try:
            read_run(tmp_path / "x.json")
            outcomes.add("read")
        except BadFile:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@given(st.binary(max_size=200))
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data)
