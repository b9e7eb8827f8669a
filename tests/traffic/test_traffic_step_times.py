"""How long a step of a server takes, of a trace of it: what is taken, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.commands.flags import with_flags
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.traffic.step_times import StepKind, step_times

DECODE, CHUNK = "step[DECODE bs=8]", "step[EXTEND bs=1 toks=8192]"
VLLM_DECODE = "execute_context_0(0)_generation_8(8)"
Steps = Iterable[tuple[str, float]]


def trace(path: Path, *threads: Steps) -> Path:
    """A trace of steps with the milliseconds until the next one starts; launching one takes 0.3 ms."""
    events: list[dict[str, Any]] = []
    for thread, steps in enumerate(threads):
        ts = 5000.0
        for name, ms in steps:
            event = {"ph": "X", "cat": "user_annotation", "name": name, "ts": ts, "dur": 300.0}
            events.append({**event, "pid": 7, "tid": thread})
            events.append({**event, "cat": "gpu_user_annotation", "pid": 0, "tid": 7})
            ts += 1e3 * ms
    text = json.dumps({"schemaVersion": 1, "traceEvents": events}).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def times(*paths: Path, wanted: tuple[StepKind, ...] = ("decode", "prefill")) -> dict[str, float]:
    return {kind: time.ms for kind, time in step_times(paths, wanted)[0].items()}


def refusal(*paths: Path) -> str:
    with pytest.raises(BadTrace) as told:
        step_times(paths)
    assert told.value.exit_code == 2
    return with_flags(told.value.values["detail"])  # type: ignore[arg-type]


def test_a_step_is_from_one_start_to_the_next(tmp_path: Path) -> None:
    steps = [(DECODE, 21.0), (DECODE, 20.0), (DECODE, 20.9), (DECODE, 21.04), (DECODE, 22.0)]
    found, refused = step_times([trace(tmp_path / "a.json.gz", steps)])
    assert {kind: time.ms for kind, time in found.items()} == {"decode": 20.9}
    assert found["decode"].note == "decode step 20.9 ms: the median of 3, of 8 requests"
    assert refused == []
    assert times(trace(tmp_path / "b.json", [(VLLM_DECODE, 9.0)] * 5)) == {"decode": 9.0}


def test_a_step_that_is_launched_while_the_one_before_runs_is_not_taken(tmp_path: Path) -> None:
    """A decode step takes 20 ms and a chunk 60. Each is launched when the one before begins to run, so from one start
    to the next passes what the step before takes: at a change of kind the figure is that of the other one.
    """
    row = [DECODE] * 6 + [CHUNK] * 6 + [DECODE] * 6 + [CHUNK, CHUNK, DECODE, DECODE] * 9
    took = {DECODE: 20.0, CHUNK: 60.0}
    steps = [(name, took[before]) for before, name in zip([DECODE, *row], row, strict=False)]
    assert times(trace(tmp_path / "a.json", steps)) == {"decode": 20.0, "prefill": 60.0}


def test_a_chunk_is_a_whole_one(tmp_path: Path) -> None:
    """What is left of a prompt has any number of tokens; short prompts are no chunks."""
    rest = [("step[EXTEND bs=2 toks=300]", 5.0)] * 20
    steps = [(CHUNK, 60.0)] * 6 + [("step[EXTEND bs=1 toks=9000]", 70.0)] + rest
    found, _ = step_times([trace(tmp_path / "a.json", steps)])
    assert found["prefill"].note == "prefill chunk 60 ms: the median of 4, of 8,192 tokens"


def test_two_traces_of_one_server(tmp_path: Path) -> None:
    """As SGLang's profile_by_stage writes them."""
    decode = trace(tmp_path / "server-DECODE.json", [(DECODE, 21.0)] * 5)
    extend = trace(tmp_path / "server-EXTEND.json", [(CHUNK, 60.0)] * 5)
    assert times(decode, extend) == {"decode": 21.0, "prefill": 60.0}
    assert times(decode, extend, wanted=("prefill",)) == {"prefill": 60.0}
    assert step_times([decode])[1] == []


def test_threads_have_steps_of_their_own(tmp_path: Path) -> None:
    """Ranks in one trace: their steps alternate in time."""
    assert times(trace(tmp_path / "a.json", *[[(DECODE, 21.0)] * 5] * 2)) == {"decode": 21.0}


def test_batches_that_take_other_times_are_no_one_step(tmp_path: Path) -> None:
    decode = [(f"step[DECODE bs={size}]", 10.0 + size) for size in (1, 8, 16, 64, 64, 64, 65) for _ in range(6)]
    many = trace(tmp_path / "a.json", decode)
    assert refusal(many) == (
        "no time of a decode step: they take 18 to 74 ms (bs 1: 11 ms, bs 8: 18 ms, bs 16: 26 ms, bs 64: 74 ms, ...); "
        "--step-ms says which is meant"
    )
    found, refused = step_times([many, trace(tmp_path / "b.json", [(CHUNK, 60.0)] * 5)])
    assert list(found) == ["prefill"]
    assert refused[0].startswith("no time of a decode step: they take 18 to 74 ms")
    # A batch that shrinks as requests end is one step.
    few = trace(tmp_path / "c.json", [(f"step[DECODE bs={size}]", 20.0 + 0.1 * size) for size in range(16, 4, -1)])
    assert step_times([few])[0]["decode"].note == "decode step 21.05 ms: the median of 10, of 6 to 15 requests"


@pytest.mark.parametrize(
    ("steps", "detail"),
    [
        ([(DECODE, 20.0)] * 4, "no time of a decode step: that takes 5 in a row"),
        ([(DECODE, 20.0), (CHUNK, 60.0)] * 9, "no time of a decode step: that takes 5 in a row; no time of a prefill "
         "chunk: that takes 5 of the same number of tokens in a row"),
        ([(DECODE, 0.0)] * 9, "no time of a decode step: steps that last 0 to 0 ms are none"),
        ([("step[TARGET_VERIFY bs=8]", 20.0)] * 9, "has no decode step and no prefill chunk, but target_verify steps"),
        ([("step[MIXED bs=8 c=1 g=7]", 20.0)] * 9, "has no decode step and no prefill chunk, but mixed steps"),
        ([("Scheduler.run_batch", 20.0)] * 9, "a trace without steps of a server: it has neither SGLang's"),
    ],
)  # fmt: skip
def test_what_tells_no_time(tmp_path: Path, steps: Steps, detail: str) -> None:
    assert refusal(trace(tmp_path / "a.json", steps)).startswith(detail)


def test_what_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "run.json").write_text('{"schema_version": 3}')
    for name in ("ranks/s-TP-0.json", "ranks/s-TP-1.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        trace(tmp_path / name, [(DECODE, 20.0)] * 9)
    for name, detail in (
        ("empty.json", "empty"),
        ("run.json", "JSON without traceEvents"),
        ("none.json", "can't be read: no such file"),
        ("ranks", "several traces in this folder: name one"),
    ):
        assert refusal(tmp_path / name).startswith(detail)
