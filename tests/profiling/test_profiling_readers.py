"""Traces of torch's profiler: what is read, in a stream, and what is refused in a clear line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from trace_builders import FA2_PAGED, ChromeTrace

from autotune_cli.errors import AutotuneError, BadField
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers import stream
from autotune_cli.profiling.readers.finding import EXAMPLES, find_trace, read_trace, sources_of_rank
from autotune_cli.profiling.readers.stream import EventStream


def small() -> ChromeTrace:
    trace = ChromeTrace(deviceProperties=[{"id": 0, "name": "NVIDIA H200"}])
    with trace.span("phase.eager"):
        trace.kernel(FA2_PAGED)
    return trace


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_trace_is_read(tmp_path: Path, name: str) -> None:
    trace = read_trace(small().write(tmp_path / name))
    assert list(trace.gpu.duration) == [10.0]
    assert trace.names.items[trace.gpu.name[0]] == FA2_PAGED
    assert [span.name for span in trace.spans] == ["phase.eager"]
    assert trace.devices == ["NVIDIA H200"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_come_along(name: str) -> None:
    trace = read_trace(find_trace(Path(name), None))
    assert len(trace.gpu.name) > 3


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    packed = small().write(tmp_path / "t.json.gz")
    assert len(read_trace(packed.rename(tmp_path / "t.json")).gpu.name) == 1


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_any_cut_of_the_stream_gives_the_same_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    document = small().document()
    document["traceEvents"].append(
        {"name": 'ä "quoted" } ] , \\ ß 中 😀', "ph": "i", "n": [1.5e-3, -2, None, {"a": []}]}
    )
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1))
    monkeypatch.setattr(stream, "_CHUNK", chunk)
    reader = EventStream(path)
    assert list(reader) == document["traceEvents"]
    assert reader.header == {key: document[key] for key in ("schemaVersion", "deviceProperties")}


def test_a_bare_list_of_events_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(small().events))
    assert len(read_trace(path).gpu.name) == 1


def test_words_of_c_for_odd_numbers_are_read(tmp_path: Path) -> None:
    path = small().write(tmp_path / "t.json")
    text = path.read_text().replace('"stream": 7', '"stream": 7, "blocks per SM": inf, "x": -nan, "y": nan, "z": -inf')
    path.write_text(text)
    assert len(read_trace(path).gpu.name) == 1


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = small().write(tmp_path / "t.json.gz")
    read_trace(path, lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size, path.stat().st_size)


def test_odd_values_do_not_matter_where_they_decide_nothing(tmp_path: Path) -> None:
    trace = small()
    trace.events[2]["args"].update(correlation=2**70, stream="x", device=None)
    trace.events[2]["name"] += "\ud800"
    read = read_trace(trace.write(tmp_path / "t.json"))
    assert read.names.items[read.gpu.name[0]].endswith("\\ud800")


def broken(change: dict[str, Any]) -> bytes:
    """The small trace with its kernel changed; None takes a key away."""
    trace = small()
    for event in trace.events:
        if event.get("cat") == "kernel":
            event.update(change)
            for key in [key for key, value in change.items() if value is None]:
                del event[key]
    return json.dumps(trace.document()).encode()


WHOLE = json.dumps(small().document()).encode()
BAD = {
    "empty": (b"", "empty"),
    "spaces": (b"   \n ", "empty|cut off"),
    "text": (b"hello", "not a trace"),
    "binary": (bytes(range(256)), "not a trace"),
    "elf": (b"\x7fELF" + bytes(100), "not a trace"),
    "object without events": (b'{"a": 1}', "JSON without traceEvents"),
    "empty object": (b"{}", "JSON without traceEvents"),
    "empty list": (b"[]", "without events"),
    "no events": (b'{"schemaVersion": 1, "traceEvents": []}', "without events"),
    "events are no list": (b'{"traceEvents": {"a": 1}}', "not a list"),
    "events are numbers": (b'{"traceEvents": [1, 2, 3]}', "no event"),
    "another tool": (
        b'{"traceEvents": [{"ph": "X", "cat": "v8", "name": "x", "ts": 1, "dur": 2}]}',
        "another tool, not of torch's profiler (categories: v8)",
    ),
    "cut off": (WHOLE[:-40], "cut off"),
    "cut off in an event": (WHOLE[: len(WHOLE) // 2], "cut off"),
    "not JSON inside": (WHOLE.replace(b'"cat": "kernel"', b'"cat"; "kernel"'), "cut off|not JSON"),
    "cut off gzip": (gzip.compress(WHOLE)[:-30], "gzip file that is cut off"),
    "damaged gzip": (gzip.compress(WHOLE)[:-8] + bytes(8), "damaged gzip"),
    "gzip of nothing": (gzip.compress(b""), "empty"),
    "nested too deep": (b'{"traceEvents": [{"a": ' + b"[" * 100_000, "nested too deep"),
    "a number of 9000 digits": (b'{"a": ' + b"9" * 9000 + b', "traceEvents": []}', "numbers that are too long"),
    "negative duration": (broken({"dur": -3.0}), "lasts -3.0 us"),
    "no duration": (broken({"dur": None}), "no start or no duration"),
    "odd duration": (broken({"dur": "long"}), "no start or no duration"),
    "not a number": (broken({"dur": float("nan")}), "no finite"),
    "no name": (broken({"name": None}), "kernel without a name"),
    "blank name": (broken({"name": " "}), "kernel without a name"),
    "name is a number": (broken({"name": 5}), "kernel without a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(BadTrace) as caught:
        read_trace(path)
    assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_files_that_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="no such file"):
        read_trace(tmp_path / "nothing.json")
    report = tmp_path / "r.nsys-rep"
    report.write_bytes(b"xx")
    with pytest.raises(BadTrace, match="nsys export --type sqlite"):
        read_trace(report)


def test_the_file_of_a_rank_is_found_in_a_folder(tmp_path: Path) -> None:
    for rank in range(3):
        small().write(tmp_path / f"1700-TP-{rank}.trace.json.gz")
    small().write(tmp_path / "merged-1700.trace.json.gz")
    assert find_trace(tmp_path, 1).name == "1700-TP-1.trace.json.gz"
    with pytest.raises(BadField, match="ranks 0, 1, 2: choose one"):
        find_trace(tmp_path, None)
    with pytest.raises(BadField, match="no trace of rank 7"):
        find_trace(tmp_path, 7)


def test_traces_of_no_rank_must_be_named(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        small().write(tmp_path / name)
    for rank in (None, 0):
        with pytest.raises(BadTrace, match=r": 2 traces whose names tell no rank: name one, such as .*b\.json$"):
            find_trace(tmp_path, rank)


@pytest.mark.parametrize("names", [("h_1.rank0.2.json", "h_1.rank1.3.json"), ("x-tp0.json", "x-tp1.json")])
def test_ranks_in_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        small().write(tmp_path / name)
    assert find_trace(tmp_path, 1).name == names[1]


def test_ranks_in_headers(tmp_path: Path) -> None:
    for rank, name in enumerate(("a.json", "b.json.gz")):
        trace = small()
        trace.header["distributedInfo"] = {"backend": "nccl", "rank": rank, "world_size": 2}
        trace.write(tmp_path / name)
    assert find_trace(tmp_path, 1).name == "b.json.gz"
    trace_of_one = read_trace(tmp_path / "b.json.gz")
    assert trace_of_one.rank == 1
    assert list(sources_of_rank(trace_of_one, 1)) == [0]
    with pytest.raises(BadField, match="is of rank 1, not 0"):
        sources_of_rank(trace_of_one, 0)


def test_a_folder_with_one_trace_and_one_with_none(tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match="no trace in this folder"):
        find_trace(tmp_path, None)
    small().write(tmp_path / "only.json")
    assert find_trace(tmp_path, None).name == "only.json"


def test_merged_traces_keep_ranks_apart(tmp_path: Path) -> None:
    trace = small()
    trace.events.clear()
    for rank in (0, 1):
        trace.label, trace.last = f"TP{rank:02d}", 0
        trace.kernel(FA2_PAGED)
    read = read_trace(trace.write(tmp_path / "merged.json"))
    assert read.groups.items == ["TP00", "TP01"]
    assert list(sources_of_rank(read, 1)) == [1]
    assert list(sources_of_rank(read, None)) == [0, 1]
    with pytest.raises(BadField, match="ranks 0, 1"):
        sources_of_rank(read, 5)
