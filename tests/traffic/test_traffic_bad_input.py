"""Bad logs: one clear line with the file, and the line where there is one."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Finished
from traffic_logs import DATA, read

from autotune_cli.traffic.errors import BadTraffic

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-11-20 09:00:00,10,5\n"
LINE = '{"prompt_len": 10, "output_len": 5, "timestamp": 1}\n'
EVENT = '{"timestamp": "2026-11-20T09:00:00", "event": "request.finished", "rid": "a", "obj": {}, "out": %s}\n'
CALL = '{"definition": "gqa_paged_decode_h32_kv8_d128_ps16", "workload": {"axes": %s}}\n'
BAD = {
    "": "log: is empty",
    "\n\n  \n": "log: is empty",
    "hello\nworld\n": r"log: is no log that is known\. Accepted: traces of torch's profiler .*; CSV of lengths",
    "a,b,c\n1,2,3\n": r"log: is no log that is known",
    "[1, 2, 3]\n": r"log: is no log that is known",
    # Tables.
    "TIMESTAMP,ContextTokens\n2026-11-20 09:00:00,10\n": r"log:1: no column has the tokens of the output; it has TIM",
    "TIMESTAMP,Other\n1,1\n": r"log:1: no column has the tokens of the prompt and output",
    "prompt_len,output_len\r5,5\r6,6\r": "log:1: not CSV: new-line character",
    "TIMESTAMP,ContextTokens,GeneratedTokens\n": "log: has a line of names, and no request",
    AZURE + "2026-11-20 09:00:01,-10,5\n": "log:3: ContextTokens '-10' is negative",
    AZURE + "2026-11-20 09:00:01,0,5\n": "log:3: ContextTokens '0' is zero",
    AZURE + "2026-11-20 09:00:01,10,0\n": "log:3: GeneratedTokens '0' is zero",
    AZURE + "2026-11-20 09:00:01,NaN,5\n": "log:3: ContextTokens 'NaN' is not a number",
    AZURE + "2026-11-20 09:00:01,99999999999,5\n": "log:3: ContextTokens '99999999999' is above 10,000,000",
    AZURE + "2026-11-20 09:00:01,,5\n": "log:3: ContextTokens '' is no whole number",
    AZURE + "2026-11-20 09:00:01,ten,5\n": "log:3: ContextTokens 'ten' is no whole number",
    AZURE + ",10,5\n": "log:3: TIMESTAMP '' is no time: give a date, or seconds",
    AZURE + "soon,10,5\n": "log:3: TIMESTAMP 'soon' is no time",
    AZURE + "\n2026-11-20 09:00:01,10\n": "log:4: 2 columns, and the first line has 3",
    AZURE + '2026-11-20 09:00:01,"10,5\n': "log:3: not CSV",
    # Lines of requests.
    LINE + '{"prompt_len": 10, "output_len": 5, "timest\n': "log:2: cut off in the middle of a JSON document",
    LINE + '{"prompt_len": 10, "output_len": 5} trailing\n': "log:2: not JSON: column 37: Extra data",
    LINE + "[1]\n": "log:2: neither a JSON object nor a line of a server's log",
    LINE + "hello\n": "log:2: neither a JSON object nor a line of a server's log",
    LINE + '{"prompt_len": 10, "timestamp": 2}\n': "log:2: no field has the tokens of the output; it has",
    LINE + '{"prompt_len": -1, "output_len": 5, "timestamp": 2}\n': "log:2: prompt_len -1 is negative",
    LINE + '{"prompt_len": 0, "output_len": 5, "timestamp": 2}\n': "log:2: prompt_len 0 is zero",
    LINE + '{"prompt_len": NaN, "output_len": 5, "timestamp": 2}\n': "log:2: prompt_len nan is not a number",
    LINE + '{"prompt_len": 1e30, "output_len": 5, "timestamp": 2}\n': r"log:2: prompt_len 1e\+30 is above 10,000,000",
    LINE + '{"prompt_len": 1%s, "output_len": 5}\n' % ("0" * 5000): "log:2: not JSON: a number with thousands",
    LINE + '{"prompt_len": 10, "output_len": 5, "timestamp": NaN}\n': "log:2: timestamp nan is no time",
    LINE + '{"prompt_len": 10, "output_len": 5}\n': "log:2: the request has no time of arrival, and those",
    LINE + '{"prompt_len": 10, "output_len": 5, "timestamp": 2, "cached_tokens": 11}\n': "cached_tokens 11 is more",
    LINE + '{"a":' * 5000 + "\n": "log:2: nested too deeply",
    EVENT % ('{"meta_info": {"prompt_tokens": 5, "completion_tokens": 5, "e2e_latency": %s}}' % ("9" * 400)): (
        "log:1: e2e_latency 9{40} is no time"
    ),
    EVENT % "{}": "log:1: a request.finished event without out.meta_info",
    EVENT.replace("request.finished", "request.received") % "{}": "log: has no request",
    # Benchmarks.
    '{"num_prompts": 3, "request_throughput": 1.0}\n': "log:1: a benchmark's result without input_lens: repeat it",
    '{"input_lens": [1, 2], "output_lens": [1]}\n': "log:1: 1 output_lens for 2 input_lens",
    '{"input_lens": [1, -2], "output_lens": [1, 1]}\n': r"log:1: input_lens\[1\] -2 is negative",
    '{"input_lens": [0], "output_lens": [1]}\n': r"log:1: input_lens\[0\] 0 is zero",
    '{"input_lens": "no", "output_lens": [1]}\n': "log:1: input_lens is no list",
    '{"input_lens": [1], "output_lens": [1], "start_times": [null]}\n': r"log:1: start_times\[0\] None is no time",
    '{"input_lens": [1], "output_lens": [0]}\n': "log: has no request that was answered",
    '{"input_lens": [1, 2\n': "log:1: cut off in the middle of a JSON document",
    # FlashInfer.
    CALL % '{"batch_size": 0, "num_kv_indices": 4}': "log:1: batch_size 0 is zero",
    CALL % '{"batch_size": 4}': "log:1: axes without num_kv_indices",
    CALL % "3": "log:1: a workload without axes",
    CALL.replace("gqa_paged_decode", "rmsnorm") % "{}": "log: has no call of a paged or ragged attention wrapper",
    # Traces.
    '{"schemaVersion": 1, "traceEvents": []}': "log: a trace without steps of a server: it has neither SGLang's",
    '{"schemaVersion": 1, "traceEvents": [{"ph": "X", "cat"': "log: cut off in the middle of an event",
    '{"traceEvents": [{"ph": "X", "cat": "user_annotation", "name": "step[DECODE bs=99999999999]"}]}': "log: a decode",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text)[:60])
def test_a_line_says_what_is_wrong_and_where(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log").write_text(text, encoding="utf-8")
    with pytest.raises(BadTraffic) as raised:
        read(Path("log"))
    line = str(raised.value)
    assert re.match(BAD[text] if BAD[text].startswith("log") else f".*{BAD[text]}", line), line
    assert "\n" not in line
    assert len(line) < 700


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = gzip.compress((DATA / "azure.csv").read_bytes() * 50)
    for name, data, said in (
        ("cut.gz", packed[: len(packed) // 2], "a gzip file that is cut off"),
        ("damaged.gz", packed[:60] + b"\0" * 40 + packed[100:], "gzip"),
        ("only.gz", b"\x1f\x8b", "a gzip file that is cut off"),
        ("latin.csv", AZURE.encode() + b"2026-11-20,1\xe9,5\n", r"latin.csv:3: not UTF-8 text: byte 0xe9 at 12"),
        ("binary", b"\0\1\2" * 100, "is no log that is known"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(BadTraffic, match=said):
            read(path)
    for path, said in (
        (tmp_path, "can't be read: is a directory"),
        (tmp_path / "missing", "can't be read: no such file or directory"),
        (Path("/dev/null"), "can't be read: not a regular file but a device"),
    ):
        with pytest.raises(BadTraffic, match=said):
            read(path)


def test_a_definition_of_flashinfer_has_no_batches() -> None:
    with pytest.raises(BadTraffic, match="has neither batch sizes nor lengths"):
        read(DATA / "flashinfer-definition.json")


def test_a_pipe_that_ends_at_once_is_empty() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(BadTraffic, match="empty"):
        read(Path(f"/dev/fd/{reading}"))
    os.close(reading)


REFUSED = {
    ("--traffic", "bad.csv"): "error: bad.csv:3: ContextTokens '-10' is negative",
    ("--traffic", "good.csv", "--batch", "4"): "error: --batch: --traffic has the batches",
    ("--traffic", "good.csv", "--spread", "even"): "error: --spread: --traffic has the batches",
    ("--traffic", "good.csv", "--lengths", "suite"): "error: --lengths: --traffic has the batches",
    ("--traffic", "good.csv", "--mode", "both"): "error: --mode: --traffic decides what is captured",
    ("--traffic", "good.csv", "--context", "1,2"): "error: --context: with --traffic it is one number",
    ("--traffic", "good.csv", "--traffic-workloads", "1"): "error: --traffic-workloads: is 1; this traffic needs 3",
    ("--traffic", "good.csv", "--traffic-workloads", "0"): "error: --traffic-workloads: 0 is below 1",
    ("--traffic", "good.csv", "--step-ms", "nan"): "error: --step-ms: 'nan' is no number",
    ("--traffic", "good.csv", "--cuda-graph-bs", "1,x"): "error: --cuda-graph-bs: 'x' is no whole number",
    ("--traffic", "good.csv", "--op", "verify"): "error: no workload is left: ",
    ("--traffic", "good.csv", "--engine", "sglnag"): "error: unknown engine 'sglnag'; did you mean 'sglang'?",
    ("--traffic", "steps.json"): "error: steps.json: a decode step without contexts (step[DECODE bs=8]): --context N",
    ("--chunked-prefill-size", "64"): "error: --chunked-prefill-size: is of a server's --traffic",
    ("--step-ms", "4"): "error: --step-ms: is of a server's --traffic",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
@pytest.mark.parametrize("dry", [("--dry-run",), ("--no-cache",)], ids=["dry", "run"])
def test_refusals(words: tuple[str, ...], dry: tuple[str, ...], usage: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(AZURE)
    (tmp_path / "bad.csv").write_text(AZURE + "2026-11-20 09:00:01,-10,5\n")
    event = {"ph": "X", "cat": "user_annotation", "name": "step[DECODE bs=8]", "ts": 1, "dur": 1}
    (tmp_path / "steps.json").write_text(json.dumps({"traceEvents": [event]}))
    done = usage("tune", "--device", "cpu", *dry, *words)
    assert (done.code, done.out) == (2, "")
    (line,) = [line for line in done.err.splitlines() if not line.startswith("note:")]
    assert line.startswith(REFUSED[words]), done.err


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The log with some bytes cut off, lost, repeated, or replaced by what is no length."""
    text = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        match rng.randint(0, 4):
            case 0:
                text = text[:at]
            case 1:
                text[at : at + rng.randint(0, 8)] = rng.choice(WORDS)
            case 2:
                numbers = list(re.finditer(rb"\d+", text))
                if numbers:
                    number = rng.choice(numbers)
                    text[number.start() : number.end()] = rng.choice(WORDS)
            case 3:
                text[at:at] = text[rng.randrange(len(text) + 1) :][:100]
            case _:
                del text[at : at + rng.randint(1, 60)]
    return bytes(text)


WORDS = (
    b"-1", b"0", b"NaN", b"null", b"[]", b"{}", b'"', b",", b"\n", b"1e999", b"true", b"9" * 30, b"\xff", b"}", b"]",
)  # fmt: skip


@pytest.mark.parametrize("path", sorted(DATA.glob("*.*[!y]")), ids=lambda path: path.name)
def test_whatever_happens_to_a_log_it_is_read_or_one_line_says_why_not(path: Path, tmp_path: Path) -> None:
    """A minute of this, 16,000 logs, found nothing more."""
    rng, log = random.Random(path.name), tmp_path / "log"
    for _ in range(25):
        log.write_bytes(damaged(path.read_bytes()[:20_000], rng))
        said = ""
        try:
            read(log, rng.choice([None, 100]))
        except BadTraffic as error:
            said = str(error)
        assert "\n" not in said
        assert not said or said.startswith(str(log))
