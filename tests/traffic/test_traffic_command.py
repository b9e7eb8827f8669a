"""``tune --traffic`` and ``--dry-run``: from the command line to the request, to what is printed and to the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Autotune, Finished
from traffic_logs import DATA

from autotune_cli.results.files import read_run
from autotune_cli.tuning import run
from autotune_cli.tuning.request import Request

# As on an H100, of whose memory nothing can be asked here.
GPU = (
    "--model",
    "llama-3.1-8b",
    "--device",
    "cuda",
    "--chunked-prefill-size",
    "8192",
    "--cuda-graph-bs",
    "1,8,16,32,64,128",
)
LOG = ("--traffic", DATA / "conversations.csv")


def test_what_would_be_tuned_for_a_gpu_is_listed_where_there_is_none(usage: Callable[..., Finished]) -> None:
    done = usage("tune", *GPU, *LOG, "--dry-run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "llama-3.1-8b-traffic on a GPU: nothing is measured"
    assert lines[1].startswith(
        "traffic: conversations.csv (lengths and times): 500 requests, 536,267 prompt and 93,522"
    )
    assert lines[2].startswith(
        "simulated: sglang 0.5.23, prefill first, chunks of 8192, at most 2048 running, batches up"
    )
    assert lines[2].rstrip().endswith("a decode step of 20 ms (assumed)")
    rows = [line.split() for line in lines if line.startswith("attention.")]
    assert len(rows) == 12
    assert {row[3] for row in rows if row[0] == "attention.decode"} == {"graph", "eager"}
    assert lines[-1].startswith("12 workloads for 2,731 steps; a step's sizes are ")
    assert done.err == ""


def test_as_json_csv_and_markdown(usage: Callable[..., Finished]) -> None:
    document = json.loads(usage("tune", *GPU, *LOG, "--dry-run", "--json").out)
    assert document["traffic"]["requests"] == 500
    assert sum(each["stands_for"]["steps"] for each in document["workloads"]) == document["traffic"]["steps"]
    first = document["workloads"][0]
    assert first["weight"] == 32 * first["stands_for"]["steps"]
    assert {"workload", "batch_size", "context"} <= set(first)
    rows = list(csv.DictReader(io.StringIO(usage("tune", *GPU, *LOG, "--dry-run", "--format", "csv").out)))
    assert [row["workload"] for row in rows] == [each["workload"] for each in document["workloads"]]
    table = usage("tune", *GPU, *LOG, "--dry-run", "--format", "markdown").out
    assert (
        "| operation | batch | context | mode | steps | of all | est. time | batches | contexts | new tokens |" in table
    )
    refused = usage("tune", *GPU, *LOG, "--dry-run", "--format", "parquet", "--output", "x.parquet")
    assert refused.code == 2


def test_a_grid_is_listed_too(usage: Callable[..., Finished]) -> None:
    done = usage("tune", "--model", "llama-3.1-8b", "--device", "cuda", "--op", "decode", "--batch", "1", "--dry-run")
    assert done.code == 0
    assert "traffic" not in done.out
    rows = [line.split() for line in done.out.splitlines() if line.startswith("attention.decode")]
    assert rows == [["attention.decode", "1", f"≤{context}", "graph"] for context in (1024, 8192, 32768, 131072)]
    assert done.out.splitlines()[-1].strip() == "4 workloads"
    assert not list(done.folder.iterdir())


@pytest.mark.parametrize("width", [50, 80, 200])
def test_on_any_terminal_nothing_is_cut(
    width: int, usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotune_cli.render import console

    monkeypatch.setattr(console, "_WIDTH", width)
    out = usage("tune", *GPU, *LOG, "--dry-run").out
    assert "…" not in out
    assert "1046..1255" in out


def test_notes_say_what_is_taken(usage: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"prompt_len": 10, "output_len": 5}\n')
    options = ("tune", "--model", "llama-3.1-8b", "--device", "cuda", "--traffic", "log.jsonl", "--dry-run")
    done = usage(*options, "--engine", "flashinfer")
    assert "note: log.jsonl: no times of arrival: all requests are taken to wait from the beginning" in done.err
    assert "note: flashinfer has no scheduler of its own that is known here" in done.err
    assert "note: the GPU's memory is not known: sglang's numbers for that (--chunked-prefill-size ...)" in done.err
    assert "vllm, mixed, chunks of 2048" in usage(*options, "--engine", "vllm").out


def test_the_gpus_memory_decides_what_the_engine_takes(
    usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 2)
    asked: list[str | None] = []

    def memory(entry: str | None) -> int:
        asked.append(entry)
        return 80 * 2**30

    monkeypatch.setattr("autotune_cli.commands.traffic.gpu_memory", memory)
    done = usage("tune", "--model", "llama-3.1-8b", *LOG, "--dry-run", "--gpus", "1")
    assert done.code == 0, done.err
    assert asked == ["1"]
    assert (
        "chunks of 8192, at most 2048 running, 576,716 tokens cached (what the GPU holds without weights), b"
        in done.out
    )
    assert "batches up to 256 captured" in done.out
    assert done.err == ""


def test_steps_without_contexts_get_those_of_the_option(usage: Callable[..., Finished]) -> None:
    done = usage("tune", *GPU, "--traffic", DATA / "sglang.trace.json", "--context", "3000", "--dry-run")
    assert done.code == 0, done.err
    assert "21 recorded steps" in done.out
    assert "simulated" not in done.out
    assert "decode steps are taken to have 3000 keys a request, others no prefix" in done.err


def test_a_name_of_a_file_is_shown_as_text(usage: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\nb.csv").write_text((DATA / "azure.csv").read_text())
    done = usage("tune", *GPU, "--traffic", "a\x1b[31m\nb.csv", "--dry-run")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert r"a\x1b[31m\nb.csv" in done.out


def test_the_request_has_the_weights(usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Request] = []

    def tune(request: Request, *others: Any) -> None:
        seen.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "tune", tune)
    usage("tune", "--device", "cpu", "--model", "llama-3.1-8b", *LOG, "--traffic-workloads", "5", "--mode", "eager")
    (request,) = seen
    assert request.name == "llama-3.1-8b-traffic"
    assert len(request.workloads) == 5
    assert {workload.key for workload in request.workloads} == set(request.stands_for)
    assert request.traffic is not None
    assert request.traffic.requests == 500
    usage("tune", "--device", "cpu")
    assert (seen[1].traffic, dict(seen[1].stands_for)) == (None, {})


def test_from_a_log_to_a_weighted_result_and_another_log_changes_the_weights_only(autotune: Autotune) -> None:
    log = autotune.root / "log.jsonl"
    line = '{"prompt_len": 64, "output_len": 5, "arrival": %d}\n'
    options = ("--model", "cpu", "--op", "topk", "--scores", "normal", "--rounds", "3", "--keep-noisy", "--cache")
    log.write_text(line % 0)
    made = autotune.tune("--traffic", "log.jsonl", *options)
    (result,) = made.run.workloads
    assert made.path.name == "cpu-traffic.json"
    assert (result.weight, result.stands_for and result.stands_for.steps) == (4.0, 4)
    assert made.run.traffic is not None
    assert (made.run.traffic.requests, made.run.traffic.steps) == (1, 5)
    gains = made.summary["weighted_speedups"]
    assert isinstance(gains, list)
    assert gains[0]["share"] == 1.0
    log.write_text(line % 0 + line % 100)
    again = autotune.tune("--traffic", "log.jsonl", *options)
    assert "nothing to measure" in again.err or "(cache)" in again.err
    kept = read_run(made.path)
    assert kept.workloads[0].weight == 8.0
    assert kept.workloads[0].measured_at == result.measured_at
    # Without --traffic it is another name, and nothing of this one changes.
    shown = autotune("show", made.path, code=0)
    assert "per weighted step over sglang" in shown.out
    assert "traffic: log.jsonl (requests): 2 requests, 128 prompt and 10 output tokens" in shown.out
