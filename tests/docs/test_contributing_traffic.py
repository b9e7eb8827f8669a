"""docs/contributing.md, followed: a toy log format and a toy engine's scheduler, in exactly the files that it names."""

from __future__ import annotations

from pathlib import Path

from contributing import Copy, blocks_of, files_of, fits

ENGINE = """
name = "vllm"
distributions = ["no-such-distribution"]
policy = "mixed"
max_running = 3
max_running_source = "a toy"
captured = [[1, 2, 1]]
captured_source = "a toy"
cache_share = 0.5
memory = []

[unknown]
chunk = 77
most_captured = 2
source = "a toy"
"""


def test_a_toy_log_format_and_an_engines_scheduler(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    ((path, text),) = blocks_of("Adding a log format").items()
    (named,) = files_of("Adding a log format")
    assert fits(path, named)
    log = copy.work / "log"
    log.write_text("#requests\n17 in, 4 out\n30 in, 2 out\n")
    words = ("tune", "--model", "llama-3.1-8b", "--device", "cpu", "--traffic", "log", "--dry-run")
    assert "is no log that is known" in copy.autotune(*words, code=2).stderr
    copy.create(path, text)
    shown = copy.autotune(*words, code=0).stdout
    assert "traffic: log (words): 2 requests, 47 prompt and 6 output tokens" in shown
    (engine,) = files_of("Adding an engine's scheduler")
    # An engine that has baselines.
    engine = engine.replace("<engine>", "vllm")
    (copy.root / engine).write_text(ENGINE, encoding="utf-8")
    shown = copy.autotune(*words, "--engine", "vllm", code=0).stdout
    assert "simulated: vllm, mixed, chunks of 77, at most 3 running, no CUDA graph" in shown
    log.write_text("#requests\n17 in, 4 out\n0 in, 2 out\n")
    assert "error: log:3: in '0' is zero" in copy.autotune(*words, code=2).stderr
