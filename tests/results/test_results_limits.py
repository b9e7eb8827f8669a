"""What is read has limits: of kind, size, waiting, width, depth and digits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from result_builders import decode, header, result, run_file

from autotune_cli import reading
from autotune_cli.errors import BadFile
from autotune_cli.reading import MOST_BYTES, Unreadable, open_input, parse_json, parse_toml, read_bytes
from autotune_cli.results.cache import CacheStore
from autotune_cli.results.files import dump_line, dump_run, read_run
from autotune_cli.results.journal import load
from autotune_cli.results.journal_files import find_resumable

RUN = run_file(result(decode(1)), result(decode(2)))
Usage = Callable[..., Any]


def refusal(path: Path) -> str:
    with pytest.raises(BadFile) as caught:
        read_run(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_pipe_with_a_writer_is_read_however_it_comes(tmp_path: Path) -> None:
    text = dump_run(RUN).encode()
    read_end, write_end = os.pipe()
    writer = threading.Thread(target=lambda: [os.write(write_end, text[n : n + 999]) for n in range(0, len(text), 999)])
    writer.start()
    writer_done = threading.Thread(target=lambda: (writer.join(), os.close(write_end)))
    writer_done.start()
    try:
        # As <(...) of a shell gives it.
        assert read_run(Path(f"/dev/fd/{read_end}")) == RUN
    finally:
        writer_done.join()
        os.close(read_end)


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path, usage: Usage) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert refusal(tmp_path / "pipe.json") == "an empty pipe, or one that nobody writes to"
    done = usage("show", "pipe.json")
    assert (done.code, done.err) == (2, "error: pipe.json: an empty pipe, or one that nobody writes to\n")


def test_a_writer_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SILENCE_S", 0.01)
    read_end, write_end = os.pipe()
    os.write(write_end, b"{")
    try:
        assert refusal(Path(f"/dev/fd/{read_end}")) == "connection timed out"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_what_is_neither_file_nor_pipe_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert refusal(tmp_path / "s") == "not a regular file but a socket"
    assert refusal(Path("/dev/zero")) == "not a regular file but a device"
    assert refusal(Path("/dev/null")) == "not a regular file but a device"
    assert refusal(tmp_path) == "is a directory"
    os.mkfifo(tmp_path / "p")
    with pytest.raises(Unreadable, match="but a pipe"):
        open_input(tmp_path / "p", pipes=False)


def test_sizes_are_looked_at_before_a_byte_is_read(tmp_path: Path, usage: Usage) -> None:
    for path in (tmp_path / "huge.json", tmp_path / "cache" / "huge.json"):
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as stream:
            stream.truncate(MOST_BYTES + 1)  # sparse
    done = usage("show", "huge.json")
    assert (done.code, done.err) == (2, "error: huge.json: 256 MiB, over 256 MiB: not a result file?\n")
    _, (note,) = CacheStore(tmp_path, "huge").load()
    assert "over 256 MiB: not a result file?; kept as huge.json.bad-1" in note


def test_a_file_that_is_longer_than_its_size_says_is_read_up_to_the_limit(tmp_path: Path) -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert b"VmPeak" in read_bytes(Path("/proc/self/status"))
    with pytest.raises(Unreadable, match="over 0 KiB: not a rules file"):
        read_bytes(Path("/proc/self/status"), 100, "rules file")
    read_end, write_end = os.pipe()
    os.write(write_end, b"x" * 101)
    os.close(write_end)
    with pytest.raises(Unreadable, match="over 0 KiB"):
        read_bytes(Path(f"/dev/fd/{read_end}"), 100)
    os.close(read_end)


# Each was gigabytes: pydantic keeps an error for each wrong element and unknown field, with a copy of what is around.
LARGE = """
import sys
from pathlib import Path
from autotune_cli.errors import BadFile
from autotune_cli.results.files import dump_run, parse_run
good = Path(sys.argv[1]).read_bytes()
many = 700_000
ones = b",".join([b"1"] * many)
fields = b",".join(b'"%d":1' % number for number in range(many // 3))
bad = {
    "list": b'{"schema_version": 2, "workloads": [' + ones + b"]}",
    "records": good.replace(b'"workloads": [', b'"workloads": [' + ones + b","),
    "inner list": good.replace(b'"rounds": [', b'"rounds": [' + ones.replace(b"1", b"-1") + b",", 1),
    "unknown fields": good.replace(b'"kind"', fields + b',"kind"', 1),
    "inner object": good.replace(b'"libraries": {', b'"libraries": {' + fields + b",", 1),
    "missing around much": b'{"schema_version": 2, "workloads": [{"candidates": [' + ones + b"]}]}",
}
for name, data in bad.items():
    assert len(data) > 1e6, name
    try:
        parse_run(data, Path("x"))
    except BadFile as error:
        print(f"{name}: {str(error)[:200]}")
# Of this program only: ru_maxrss has that of the process which started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def test_a_large_wrong_file_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(dump_run(RUN))
    command = [sys.executable, "-c", LARGE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    *lines, megabytes = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout
    said = dict(line.split(": x: ", 1) for line in lines)
    assert said["list"].startswith("kind: is missing; name: is missing")
    assert said["records"] == "workloads[0]: must be an object"
    assert said["inner list"].startswith("workloads[0].candidates[0].rounds[0]: must be a number of at least 0")
    assert said["unknown fields"] == "not a result file: an object with 233,348 fields"
    assert said["inner object"] == "not a result file: an object with 233,335 fields"
    assert said["missing around much"].count("is missing") == 3
    # 50 of them are the imports, and the texts themselves some 10.
    assert int(megabytes) < 250


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("1" * 400, "a number with hundreds of digits"),
        ("-" + "1" * 400, "a number with hundreds of digits"),
        ("1" * 5000, "a number with thousands of digits"),
        ("1e400", "not JSON"),
        ("-1e400", "not JSON"),
    ],
)
@pytest.mark.parametrize("field", ["seed", "wall_s", "schema_version"])
def test_numbers_without_end(tmp_path: Path, usage: Usage, number: str, said: str, field: str) -> None:
    document = json.loads(dump_run(RUN))
    (document["settings"] if field == "seed" else document)[field] = "@"
    (tmp_path / "a.json").write_text(json.dumps(document).replace('"@"', number))
    done = usage("show", "a.json")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert len(done.err) < 300
    if number[-4:] != "e400":
        assert said in done.err


def test_documents_that_are_nested_without_end() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(Unreadable, match="nested too deeply"):
            parse_json(text)
    for text in ("x = " + "[" * 5000, "x = " + "{a=" * 5000):
        with pytest.raises(Unreadable, match="nested too deeply"):
            parse_toml(text)
    for text, said in (("x = " + "9" * 5000, "thousands of digits"), ("x = 2026-02-31", "TOML"), ("x =", "TOML")):
        with pytest.raises(Unreadable, match=said):
            parse_toml(text)


def test_a_journal_that_is_a_pipe_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "runs" / ".llama.20261121_093012.journal")
    assert find_resumable(tmp_path, "llama") is None


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000, '{"record": "round", "x": ' + "1" * 400 + "}"])
def test_a_line_of_a_journal_without_end(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j"
    path.write_text(f"{dump_line(header())}\n{line}\n{dump_line(header())}\n")
    with pytest.raises(BadFile, match="line 2: ") as caught:
        load(path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a": ', "}")])
def test_what_can_be_parsed_but_not_printed_is_refused(begin: str, end: str) -> None:
    def nested(depth: int) -> str:
        return begin * depth + "1" + end * depth

    assert parse_json(nested(reading.MOST_DEPTH))
    for depth in (reading.MOST_DEPTH + 1, 300, 900, 980):
        with pytest.raises(Unreadable, match="nested too deeply"):
            parse_json(nested(depth))
