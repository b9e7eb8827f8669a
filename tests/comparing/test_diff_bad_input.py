from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_builders import session, write

from autotune_cli.reading import MOST_BYTES
from autotune_cli.results.files import dump_run

Usage = Callable[..., Any]
TEXT = dump_run(session(1))
ROUNDS = '"rounds_us": ['


def changed(edit: Callable[[Any], object]) -> str:
    document = json.loads(TEXT)
    edit(document)
    return json.dumps(document)


def first(document: Any) -> Any:
    return document["workloads"][0]["candidates"][0]


def no_rounds(document: Any) -> None:
    first(document).update(rounds=[], rounds_us=[])


def twice(document: Any) -> None:
    document["workloads"].append(document["workloads"][1])


def candidate_twice(document: Any) -> None:
    document["workloads"][0]["candidates"].append(first(document))


LINE = TEXT[: TEXT.index(ROUNDS)].count("\n") + 1
CASES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "the file is empty"),
    "blank": (" \n", "the file is empty"),
    "truncated": (TEXT[: len(TEXT) // 2], "cut short: the JSON ends in the middle (line"),
    "cut in a number": (TEXT[:40], "cut short"),
    "not json": ("hello", "not JSON: line 1, column 1"),
    "binary": (b"\x80\x81\x82", "not UTF-8 text: byte 0x80 at 0"),
    "a list": ("[1, 2]", "not a result file: the JSON is no object"),
    "a number": ("1", "not a result file"),
    "foreign": ('{"benchmarks": [{"name": "x"}]}', "not a result file: it has no schema_version"),
    "foreign lists": ('{"x": ["a", 1]}', "not a result file: it has no schema_version"),
    "newer": (TEXT.replace('"schema_version": 2', '"schema_version": 99'), "schema version 99 is newer than 2"),
    "nan": (TEXT.replace(ROUNDS, ROUNDS + "NaN, ", 1), f"line {LINE}: not JSON: NaN is not a JSON number"),
    "infinite": (TEXT.replace(ROUNDS, ROUNDS + "1e999, ", 1), "workloads[0].candidates[0].rounds_us[0]"),
    "negative": (
        changed(lambda d: first(d)["rounds_us"].__setitem__(2, -1.0)),
        "workloads[0].candidates[0].rounds_us[2]: must be a number greater than 0",
    ),
    "zero": (changed(lambda d: first(d)["rounds_us"].__setitem__(0, 0)), "rounds_us[0]: must be a number greater"),
    "text": (changed(lambda d: first(d)["rounds_us"].__setitem__(0, "5")), "rounds_us[0]: must be a number"),
    "without rounds": (changed(no_rounds), "status ok without rounds"),
    "twice": (changed(twice), "workloads[1] and workloads[3] are the same, 'attention.decode 8 x 8192"),
    "candidate twice": (changed(candidate_twice), "workloads[0].candidates[0] and [2] are the same, 'lib.slow'"),
    "unknown field": (changed(lambda d: d.update(more=1)), "more: is not a known field"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "workloads missing": (changed(lambda d: d.pop("workloads")), "workloads: is missing"),
}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_line_with_its_name_and_position(usage: Usage, tmp_path: Path, name: str, side: int) -> None:
    content, message = CASES[name]
    write(tmp_path / "good.json", session(2))
    (tmp_path / "bad.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ["good.json", "bad.json"]
    done = usage("diff", *(arguments if side else reversed(arguments)))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: bad.json: ")
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert len(done.err) < 600


def test_a_missing_file_in_a_pool(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "good.json", session(2))
    assert "A: gone.json: no such file" in usage("diff", "--base", "good.json", "gone.json", "--new", "good.json").err


def test_a_file_of_a_gigabyte_is_refused_by_its_size(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "good.json", session(2))
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(2**30)  # sparse
    done = usage("diff", "good.json", "huge.json")
    assert done.code == 2
    assert f"huge.json: 1,024 MiB, over {MOST_BYTES // 2**20} MiB: not a result file?" in done.err


def test_a_pipe_a_dangling_link_and_a_loop(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "good.json", session(2))
    os.mkfifo(tmp_path / "pipe.json")
    assert "pipe.json: an empty pipe, or one that nobody writes to" in usage("diff", "good.json", "pipe.json").err
    (tmp_path / "link.json").symlink_to("nowhere.json")
    assert "link.json: no such file" in usage("diff", "good.json", "link.json").err
    (tmp_path / "loop.json").symlink_to("loop.json")
    done = usage("diff", "good.json", "loop.json")
    assert done.code == 2
    assert "loop.json" in done.err


def test_no_workload_in_common_is_exit_3_in_every_format(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", session(1, batches=(1,)))
    write(tmp_path / "b.json", session(2, batches=(2,)))
    for kind in ("table", "markdown", "json", "csv"):
        assert usage("diff", "a.json", "b.json", "--format", kind).code == 3
    assert json.loads(usage("diff", "a.json", "b.json", "--format", "json").out)["refusal"]
    assert "no workload in common" in usage("diff", "a.json", "b.json").out


def test_extreme_times_are_compared_and_absurd_ones_refused(usage: Usage, tmp_path: Path) -> None:
    for name, us in (("a", 1e-6), ("b", 1e12), ("tiny", 1e-300), ("huge", 1e300)):
        text = changed(lambda d, us=us: [c.update(rounds_us=[us] * 10, median_us=us) for c in _all(d)])
        (tmp_path / f"{name}.json").write_text(text)
    for kind in ("table", "markdown", "json", "csv"):
        done = usage("diff", "a.json", "b.json", "--format", kind)
        assert done.code == 1, done.err
        assert "slower" in done.out
        for name in ("tiny", "huge"):
            done = usage("diff", "a.json", f"{name}.json", "--format", kind)
            assert done.code == 2
            assert f"{name}.json: workloads[0].candidates[0].rounds_us: 1e" in done.err


def _all(document: Any) -> list[Any]:
    return [c for w in document["workloads"] for c in w["candidates"]]


def test_a_side_comes_through_a_pipe(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "good.json", session(2))
    ends = [os.pipe() for _ in range(2)]
    text = dump_run(session(1)).encode()
    writers = [threading.Thread(target=_write, args=(end[1], text)) for end in ends]
    for writer in writers:
        writer.start()
    # As a shell's <(...) and - from `git show`.
    done = usage("diff", *(f"/dev/fd/{end[0]}" for end in ends))
    for writer, end in zip(writers, ends, strict=True):
        writer.join()
        os.close(end[0])
    assert done.code == 0, done.err


def _write(end: int, text: bytes) -> None:
    with open(end, "wb") as stream:
        stream.write(text)


@pytest.mark.parametrize("clock", [0.0, 5e-324, 1e-300, 1e300, 1.7e308])
def test_clocks_that_are_none_are_passed_over(usage: Usage, tmp_path: Path, clock: float) -> None:
    def edit(document: Any) -> None:
        for workload in document["workloads"]:
            workload["conditions"] = [
                {"round": number, "sm_clock_mhz": clock if number % 2 else 1980.0} for number in range(10)
            ]

    (tmp_path / "odd.json").write_text(changed(edit))
    write(tmp_path / "good.json", session(2))
    for sides in (("odd.json", "good.json"), ("good.json", "odd.json")):
        for kind in ("table", "json"):
            done = usage("diff", *sides, "--format", kind)
            assert done.code == 0, done.err


def test_a_negative_clock_is_one_line(usage: Usage, tmp_path: Path) -> None:
    text = changed(lambda d: d["workloads"][0].update(conditions=[{"round": 0, "sm_clock_mhz": -1980.0}]))
    (tmp_path / "odd.json").write_text(text)
    write(tmp_path / "good.json", session(2))
    done = usage("diff", "odd.json", "good.json")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: odd.json: workloads[0].conditions[0].sm_clock_mhz: must be a number of at least 0"
    ]


FLASHINFER = {"_metadata": {"gpu": "H200"}, "('x', 1)": ["Runner", 3]}


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        ({**FLASHINFER, "_metadata": 5}, 2, "_metadata: must be an object, as FlashInfer writes it"),
        ({**FLASHINFER, "_metadata": []}, 2, "_metadata: must be an object"),
        ({**FLASHINFER, "_metadata": None}, 2, "_metadata: must be an object"),
        ({**FLASHINFER, "_metadata": {"gpu": "H\ud800"}}, 3, "H\\ud800"),
        ({**FLASHINFER, "_metadata": {"gpu": "H200", "\udfff": "1"}}, 0, "\\udfff"),
        ({**FLASHINFER, "('x', 1)": ["R\ud800", 3]}, 0, "R\\ud800"),
        ({**FLASHINFER, "('\ud800', 1)": ["R", 3]}, 0, "ud800"),
        ({**FLASHINFER, "('x', 1)": ["Runner", 3, ["\ud800", "\udc00"]]}, 0, ""),
        ({**FLASHINFER, "('\ud800', 1)": 5}, 2, "ud800"),
    ],
)
@pytest.mark.parametrize("kind", ["table", "json", "markdown", "csv"])
def test_odd_texts_of_flashinfer(
    usage: Usage, tmp_path: Path, document: dict[str, Any], code: int, said: str, kind: str
) -> None:
    (tmp_path / "odd.json").write_text(json.dumps(document))
    (tmp_path / "good.json").write_text(json.dumps(FLASHINFER))
    for sides in (("odd.json", "good.json"), ("good.json", "odd.json")):
        done = usage("diff", *sides, "--format", kind, "--all")
        assert done.code == code, done.err
        if kind == "table":
            assert said in done.out + done.err
