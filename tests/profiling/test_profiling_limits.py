"""Traces, rules and patterns have limits: of kind, size, depth, digits and time."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trace_builders import FA2_PAGED as PAGED
from trace_builders import ChromeTrace, NsysTrace

from autotune_cli.profiling.classify import load_classifier, parse_rules
from autotune_cli.profiling.errors import BadRules, BadTrace
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.patterns import BadPattern, Patience, TooSlow, compile_pattern
from autotune_cli.profiling.readers import nsys, stream
from autotune_cli.profiling.readers.finding import read_trace

Usage = Callable[..., Any]
ENDLESS = ("(a+)+$", r"(\w+\s?)*$x", "(?:a|a)*b$", "(a*)*(a*)*c$", "(a|aa)+$", "a*a*a*a*a*a*a*a*b")
NAME = "a" * 400 + "!"


def chrome(path: Path, *names: str) -> Path:
    trace = ChromeTrace(deviceProperties=[{"name": "NVIDIA H200"}])
    for name in names or (PAGED,):
        trace.kernel(name)
    return trace.write(path)


def export(path: Path, *statements: str) -> Path:
    trace = NsysTrace(path)
    start = trace.now
    trace.kernel(PAGED).copy_to_host().span("phase.eager", start).span("x", start, registered=True)
    trace.write()
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    return path


# --- kinds of files


@pytest.mark.parametrize("packed", [False, True])
def test_a_trace_comes_through_a_pipe(tmp_path: Path, usage: Usage, packed: bool) -> None:
    data = chrome(tmp_path / "t.json").read_bytes()
    data = gzip.compress(data) if packed else data
    read_end, write_end = os.pipe()

    def write() -> None:
        for start in range(0, len(data), 100):
            os.write(write_end, data[start : start + 100])
        os.close(write_end)

    writer = threading.Thread(target=write)
    writer.start()
    done = usage("profile", "--paged", "--from-trace", f"/dev/fd/{read_end}")
    writer.join()
    os.close(read_end)
    assert done.code == 0, done.err


def test_rules_come_through_a_pipe(usage: Usage) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"'flashinfer' = { family = 'ragged', library = 'piped' }\n")
    os.close(write_end)
    done = usage("profile", "--paged", "--from-trace", "example", "--rules", f"/dev/fd/{read_end}")
    os.close(read_end)
    assert done.code == 1
    assert "piped" in done.out


@pytest.mark.parametrize("option", ["--from-trace", "--rules"])
def test_what_can_not_be_read_is_refused_at_once(tmp_path: Path, usage: Usage, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "nobody writes to"), ("/dev/zero", "a device"), ("/dev/null", "a device")):
        trace = () if option == "--from-trace" else ("--from-trace", "example")
        done = usage("profile", "--paged", *trace, option, name)
        assert done.code == 2
        assert f"{name}: can't be read: " in done.err
        assert said in done.err
        assert len(done.err.splitlines()) == 1


def test_an_export_through_a_pipe_is_refused(tmp_path: Path, usage: Usage) -> None:
    data = export(tmp_path / "r.sqlite").read_bytes()
    read_end, write_end = os.pipe()
    os.write(write_end, data[:4096])
    os.close(write_end)
    done = usage("profile", "--paged", "--from-trace", f"/dev/fd/{read_end}")
    os.close(read_end)
    assert (done.code, "an SQLite file can't be read from a pipe" in done.err) == (2, True)


# --- traces of torch's profiler


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "1e300", "9" * 5000])
@pytest.mark.parametrize("field", ["ts", "dur"])
def test_absurd_times_are_refused(tmp_path: Path, usage: Usage, number: str, field: str) -> None:
    document = json.loads(chrome(tmp_path / "t.json").read_bytes())
    next(event for event in document["traceEvents"] if event.get("cat") == "kernel")[field] = "@"
    (tmp_path / "t.json").write_text(json.dumps(document).replace('"@"', number))
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert len(done.err) < 300


@pytest.mark.parametrize("field", ["pid", "tid", "correlation", "device", "stream", "rank", "id"])
def test_numbers_of_400_digits_elsewhere_change_nothing(tmp_path: Path, usage: Usage, field: str) -> None:
    document = json.loads(chrome(tmp_path / "t.json").read_bytes())
    kernel = next(event for event in document["traceEvents"] if event.get("cat") == "kernel")
    (kernel["args"] if field in kernel["args"] else kernel)[field] = 10**400
    document["distributedInfo"] = {"rank": 10**400}
    (tmp_path / "t.json").write_text(json.dumps(document))
    assert usage("profile", "--paged", "--from-trace", "t.json").code in (0, 3)


@pytest.mark.parametrize("kind", ["table", "json", "markdown"])
def test_halves_of_characters_are_shown(tmp_path: Path, usage: Usage, kind: str) -> None:
    trace = ChromeTrace(deviceProperties=[{"name": "GPU \ud800"}], distributedInfo={"rank": 0})
    with trace.span("phase.eager \udfff"):
        trace.kernel(PAGED).kernel("odd\ud83d_kernel")
    trace.write(tmp_path / "t.json")
    done = usage("profile", "--paged", "--from-trace", "t.json", "--format", kind)
    assert done.code == 1
    assert "ud83d" in done.out


def test_a_small_file_that_is_huge_inside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_HARMLESS", 1 << 18)
    monkeypatch.setattr(stream, "_CHUNK", 1 << 16)
    start = b'{"traceEvents": ['
    for filling in (b" ", b"{},", b'{"a": 1},'):
        path = tmp_path / "t.json.gz"
        path.write_bytes(gzip.compress(start + filling * (1 << 21)))
        with pytest.raises(BadTrace, match="over 100 times as large inside"):
            read_trace(path)
    # As large, and no smaller than traces are.
    path.write_bytes(gzip.compress(start + b",".join(b'{"a": %d}' % n for n in range(1 << 16)) + b"]}"))
    with pytest.raises(BadTrace, match="another tool"):
        read_trace(path)


def test_only_what_is_used_of_the_header_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"schemaVersion": 1, "much": ["x"] * 1000, "traceEvents": [{}]}))
    reader = stream.EventStream(path)
    assert list(reader) == [{}]
    assert reader.header == {"schemaVersion": 1}


# --- exports of Nsight Systems

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
    monkeypatch.setattr(nsys, "_LEAST_ROW", 1 << 20)
    with pytest.raises(BadTrace, match="more rows than it has room for"):
        read_trace(export(tmp_path / "r.sqlite"))


def test_a_query_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nsys, "_PATIENCE_S", -1.0)
    monkeypatch.setattr(nsys, "_STEPS", 1)
    with pytest.raises(BadTrace, match="takes far too long"):
        read_trace(export(tmp_path / "r.sqlite"))


def test_ctrl_c_in_a_query_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(nsys._Clock, "tick", interrupted)
    monkeypatch.setattr(nsys, "_STEPS", 1)
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


# --- rules and patterns


@pytest.mark.parametrize("pattern", ENDLESS)
def test_expressions_without_end_are_given_up(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    start = time.process_time()
    with pytest.raises(TooSlow):
        Patience(one_s=0.05).run(lambda: compiled.search(NAME))
    assert time.process_time() - start < 5.0


def test_searches_have_a_time_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience(one_s=0.02, all_s=0.05)
    compiled = compile_pattern(ENDLESS[0])
    for _ in range(10):
        with pytest.raises(TooSlow):
            patience.run(lambda: compiled.search(NAME))
    with pytest.raises(TooSlow):
        patience.run(lambda: None)
    assert Patience().run(lambda: 5) == 5


@pytest.mark.parametrize("pattern", ENDLESS[1:2])
def test_a_rule_without_end_is_named(tmp_path: Path, usage: Usage, pattern: str) -> None:
    (tmp_path / "r.toml").write_text(f"'{pattern}' = {{ family = 'benign' }}")
    chrome(tmp_path / "t.json", NAME)
    done = usage("profile", "--paged", "--from-trace", "t.json", "--rules", "r.toml")
    assert done.code == 2
    assert f"rules file r.toml: rule {pattern!r}: takes too long on the kernel name 'aaa" in done.err


@pytest.mark.parametrize("option", ["--expect", "--forbid"])
def test_a_pattern_without_end_is_named(tmp_path: Path, usage: Usage, option: str) -> None:
    chrome(tmp_path / "t.json", NAME, PAGED)
    done = usage("profile", "--from-trace", "t.json", option, ENDLESS[0])
    assert done.code == 2
    assert done.err.startswith(f"error: {option}: '(a+)+$' takes too long on the kernel name 'aaa")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is no regular expression: missing )"),
        ("a{99999999999}", "is no regular expression: the repetition number is too large"),
        ("(?u)(?a)", "is no regular expression: ASCII and UNICODE flags are incompatible"),
        ("(?L)a", "is no regular expression: bad inline flags"),
        ("a(?i)", "is no regular expression: global flags not at the start"),
        ("(" * 999 + "a" + ")" * 999, "is no regular expression: nested too deeply"),
        ("x" * 5000, "has 5,000 characters, at most 2,000 are read"),
    ],
)
def test_what_does_not_compile_is_one_line(tmp_path: Path, usage: Usage, pattern: str, said: str) -> None:
    with pytest.raises(BadPattern) as caught:
        compile_pattern(pattern)
    assert said in str(caught.value)
    for option in ("--expect", "--forbid"):
        done = usage("profile", "--from-trace", "example", option, pattern)
        assert (done.code, said in done.err, len(done.err) < 300) == (2, True, True)
    with pytest.raises(BadRules, match=r"rules\.toml: rule '"):
        parse_rules(f"'{pattern}' = {{ family = 'benign' }}", "rules.toml")


def test_a_pattern_that_may_change_its_meaning_says_nothing(usage: Usage) -> None:
    assert usage("profile", "--from-trace", "example", "--expect", "[[P]aged").err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "9" * 5000, "not TOML: a number with thousands of digits"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("\n".join(f"'a{n}' = {{ family = 'benign' }}" for n in range(1001)), "1,001 rules, at most 1,000 are read"),
        ("#" * (1 << 21), "over 1 MiB: not a rules file"),
        ("'" + "k" * 3000 + "' = 1", "not of the form"),
        ("'a' = { family = '" + "k" * 3000 + "' }", "is none of"),
    ],
)
def test_rules_without_end(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(BadRules) as caught:
        load_classifier([path])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["at::native::" * 60_000, "f<" * 60_000, "std::enable_if<" * 60_000, "topk_" * 60_000])
def test_long_names_do_not_stop_our_own_rules(tmp_path: Path, usage: Usage, name: str) -> None:
    """Of a name only so much is read as real ones have."""
    chrome(tmp_path / "t.json", PAGED, name)
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert (done.code, done.err) in [(0, ""), (1, "")]


def bomb(levels: int) -> str:
    """A mangled name of 10 characters a level that doubles with each."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    name, last = "_Z1f1PIiiE", "S0_"
    for level in range(levels):
        name += f"S_I{last}{last}E"
        last = f"S{digits[level + 1]}_"
    return name


def test_of_a_mangled_name_that_stands_for_gigabytes_only_identifiers_are_read() -> None:
    assert len(demangle(bomb(5))) > 500
    # In a process of its own, and short enough.
    assert demangle(bomb(10)).startswith("f(P<int, int>, P<P<int, int>, P<int, int> >")
    assert demangle(bomb(24)) == "f"


def test_the_process_that_demangles_needs_no_package() -> None:
    code = f"import autotune_cli.profiling.names as n; print(len(n._demangle_apart({bomb(10)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 10_000


def test_a_name_that_is_too_long_is_one_line(usage: Usage) -> None:
    name = "x" * 300
    for arguments in (
        ("profile", "--paged", "--from-trace", name),
        ("profile", "--paged", "--from-trace", "example", "--rules", name),
        ("show", name),
        ("diff", name, name),
    ):
        done = usage(*arguments)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err


def test_a_damaged_schema_that_is_no_text(tmp_path: Path) -> None:
    """sqlite3 can't make text of SQLite's own message on it."""
    path = export(tmp_path / "r.sqlite")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE StringIds", b"CREATE T\xc5BLE StringIds"))
    with pytest.raises(BadTrace, match="a damaged SQLite file"):
        read_trace(path)
