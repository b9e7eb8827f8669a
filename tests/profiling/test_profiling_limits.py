"""Traces have limits: of kind, size, depth and digits."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limit_traces import chrome
from trace_builders import FA2_PAGED as PAGED
from trace_builders import ChromeTrace

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers import stream, unpacking
from autotune_cli.profiling.readers.finding import read_trace

Usage = Callable[..., Any]


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
    monkeypatch.setattr(unpacking, "_HARMLESS", 1 << 18)
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
