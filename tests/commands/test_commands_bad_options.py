"""Bad input: a clear line, exit 2, no traceback, and nothing is started or written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Finished

from autotune_cli.errors import UnknownName
from autotune_cli.worker import process

HUGE = "9" * 5000

BAD = {
    # Names, with the nearest known one.
    ("--model", "llama-3.1-8"): r"unknown model 'llama-3.1-8'; did you mean 'llama-3.1-8b'\?",
    ("--model", "??"): r"unknown model '\?\?' \(known: .*llama-3.1-8b",
    ("--op", "decod"): r"unknown operation 'decod'; did you mean 'decode'\?",
    ("--op", ""): "--op: is empty",
    (
        "--backend",
        "torch.tpok",
    ): r"unknown backend 'torch.tpok'; did you mean 'torch.topk', '[\w.]+' or '[\w.]+'\? "
    r"\(known: [^.]*, torch, triton, [^.]* and \d\d more that 'autotune kernels' lists\)$",
    ("--backend", ""): "unknown backend ''",
    ("--mode", "grph"): r"unknown mode 'grph'; did you mean 'graph'\?",
    ("--mode", "graph"): "--mode: a graph is CUDA's",
    ("--dtype", "bf61"): r"unknown dtype for --dtype 'bf61'; did you mean 'bf16'\?",
    ("--kv-dtype", "int4"): "unknown dtype for --kv-dtype 'int4'",
    ("--q-dtype", "int4"): "unknown dtype for --q-dtype 'int4'",
    ("--q-dtype", "fp8"): "--q-dtype: float8_e4m3fn is what --dtype is rounded to over --kv-dtype float8_e4m3fn",
    ("--q-dtype", "fp16"): "--q-dtype: queries are float32, or float8_e4m3fn",
    ("--scores", "normale"): r"unknown distribution of scores 'normale'; did you mean 'normal'\?",
    ("--lengths", ""): "--lengths: is empty",
    ("--lengths", "unifrom"): r"--lengths: unifrom: no such file or directory \(give suite, uniform or a file\)",
    ("--lengths", "/"): r"--lengths: /: is a directory \(give suite, uniform or a file\)",
    ("--lengths", "suite", "--op", "prefill"): "--lengths: is for decode steps, of which no workload is left",
    ("--lengths", "/dev/null", "--context", "8"): "--lengths: /dev/null: not a regular file but a device",
    ("--device", "gpu"): "--device: 'gpu' is none of auto, cuda, cpu",
    # Devices that aren't there.
    ("--device", "cuda"): "no NVIDIA GPU on this machine; --device cpu",
    ("--gpus", "0"): "no NVIDIA GPU on this machine",
    ("--gpus", "all"): "no NVIDIA GPU on this machine",
    ("--gpus", "0", "--device", "cpu"): "--gpus: makes no sense with --device cpu",
    # Numbers.
    ("--budget", "0"): "--budget: must be more than zero",
    ("--budget", "-5s"): "--budget: '-5s' is no time; write 60s, 5m or 1h",
    ("--budget", "soon"): "--budget: 'soon' is no time",
    ("--budget", "nan"): "--budget: 'nan' is no time",
    ("--budget", "inf"): "--budget: 'inf' is no time",
    ("--budget", "5 days"): "--budget: '5 days' is no time",
    ("--budget", f"{HUGE}h"): "--budget: is too long",
    ("--timeout", ""): "--timeout: '' is no number",
    ("--budget", "\u0663s"): "--budget: '\u0663s' is no time",
    ("--timeout", "0"): "--timeout: 0.0 is below 0.1",
    ("--timeout", "-1"): "--timeout: -1.0 is below 0.1",
    ("--timeout", "nan"): "--timeout: 'nan' is no number",
    ("--timeout", "inf"): "--timeout: inf is above 86400",
    ("--timeout", "1e12"): "--timeout: 1000000000000.0 is above 86400",
    ("--rounds", "0"): "--rounds: 0 is below 3",
    ("--rounds", "-3"): "--rounds: -3 is below 3",
    ("--rounds", "1000000"): "--rounds: 1000000 is above 1000",
    ("--rounds", HUGE): "--rounds: 9{40} is above 1000",
    ("--rounds", f"-{HUGE}"): "--rounds: -9{39} is below 3",
    ("--rounds", "ten"): "--rounds: 'ten' is no whole number",
    ("--rounds", "nan"): "--rounds: 'nan' is no whole number",
    ("--timeout", "long"): "--timeout: 'long' is no number",
    ("--seed", "1.5"): "--seed: '1.5' is no whole number",
    ("--tp", "x"): "--tp: 'x' is no whole number",
    ("--tp", "2,4"): "--tp: '2,4' is no whole number",
    ("--seed", "-1"): "--seed: -1 is below 0",
    ("--seed", str(2**63)): "--seed: 9223372036854775808 is above 9223372036854775807",
    ("--tp", "0"): "--tp: 0 is below 1",
    ("--tp", "-8"): "--tp: -8 is below 1",
    ("--tp", "3"): "cpu --tp 3: 4 query heads don't divide by 3",
    ("--batch", "0"): "--batch: 0 is below 1",
    ("--batch", "1,-2"): "--batch: -2 is below 1",
    ("--batch", "many"): "--batch: 'many' is no whole number",
    ("--batch", "1.5"): "--batch: '1.5' is no whole number",
    ("--batch", ""): "--batch: '' is no whole number",
    ("--batch", HUGE): "--batch: 9{40} is above 10000000",
    ("--context", "0"): "--context: 0 is below 1",
    ("--context", "nan"): "--context: 'nan' is no whole number",
    ("--new", "0"): "--new: 0 is below 1",
    ("--new", "inf"): "--new: 'inf' is no whole number",
    ("--page-size", "0"): "--page-size: 0 is below 1",
    ("--page-size", "-1"): "--page-size: -1 is below 1",
    ("--page-size", "16,x"): "--page-size: 'x' is no whole number",
    ("--page-size", HUGE): "--page-size: 9{40} is above 10000000",
    # Names of results.
    ("--name", "../evil"): "--name '../evil': a name, not a path: no slash",
    ("--name", "a..b"): r"--name 'a..b': must not contain '\.\.'",
    ("--name", ""): "--name '': the name is empty",
    ("--name", "x" * 300): "--name .*300 characters, at most",
    # How the result is printed.
    ("--format", "html"): r"unknown format 'html'.* \(known: table, ",
    ("--format", "jsn"): r"unknown format 'jsn'; did you mean 'json'\?",
    ("--json", "--format", "csv"): "--json: is short for --format json, and --format is csv",
    # Suites that come to nothing.
    ("--op", "extend", "--context", "64", "--new", "64"): "no workload is left",
    ("--model", "llama-3.1-8b", "--op", "topk"): "no workload is left: llama-3.1-8b: it has no sparse indexer",
    ("--model", "cpu", "--config", "x.json"): "--config: give --model or --config, not both",
    ("--config", "missing.json"): r"missing.json: ",
}


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: process.Worker) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(process.Worker, "start", start)


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize("options", BAD, ids=lambda options: " ".join(options)[:40])
def test_bad_value_is_one_line_and_exit_2(
    usage: Callable[..., Finished], tmp_path: Path, options: tuple[str, ...]
) -> None:
    finished = usage("tune", *options)
    assert finished.code == 2
    last = finished.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(BAD[options], last), last
    assert len(last) < 600
    assert finished.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--require", ""), "unknown requirement ''"),
        (("--require", "tie-break=none"), "unknown requirement 'tie-break=none'"),
        (("--require", "tie-break=small,tie-break=large"), "--require: of equal scores .* not both"),
        (("--baseline", "sglang --dsa-topk-backend torhc"), "did you mean 'torch'"),
        (("--baseline", "SGLANG_DSA_FUSE_TOPKS=1 sglang"), "did you mean 'SGLANG_DSA_FUSE_TOPK'"),
        (("--engine", "sglnag"), "did you mean 'sglang'"),
    ],
)
def test_what_a_run_would_refuse_a_dry_run_refuses(
    usage: Callable[..., Finished], options: tuple[str, ...], says: str
) -> None:
    for more in ((), ("--dry-run",)):
        finished = usage("tune", "--op", "topk", *options, *more)
        assert finished.code == 2, more
        assert re.search(says, finished.err), finished.err


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("FLASHINFER_JIT_VERBOSE", "1"), ("FLASHINFER_JIT_DEBUG", "1"), ("NVCC_APPEND_FLAGS", "-O0")],
)
def test_slow_builds_are_refused_by_name(usage: Callable[..., Finished], variable: str, value: str) -> None:
    finished = usage("tune", variables={variable: value})
    assert finished.code == 2
    assert finished.err.startswith(f"error: {variable}={value} makes FlashInfer build unoptimised kernels")
    assert f"unset {variable}" in finished.err


def test_of_few_names_all_are_told_and_of_many_the_closest() -> None:
    names = [f"model-{number}" for number in range(100)]
    assert str(UnknownName("model", "model-29x", names[:30])).endswith(f"(known: {', '.join(names[:30])})")
    many = str(UnknownName("model", "model-77x", names))
    assert many.startswith("unknown model 'model-77x'; did you mean 'model-77', 'model-7' or 'model-")
    assert many.endswith(", model-28, model-29 and 70 more)")
    assert str(UnknownName("model", "?", names, "models", ["a", "b"])) == (
        "unknown model '?' (known: a, b and 98 more that 'models' lists)"
    )
    assert len(str(UnknownName("model", HUGE, names))) < 800


def test_an_unknown_timer_is_exit_2(usage: Callable[..., Finished]) -> None:
    finished = usage("tune", "--timer", "cputi")
    assert finished.code == 2
    assert "unknown timer 'cputi'" in finished.err


def test_a_suite_that_fits_no_memory_names_the_workload(usage: Callable[..., Finished], tmp_path: Path) -> None:
    finished = usage("tune", "--op", "topk", "--batch", "1000000", "--context", "1000000")
    assert finished.code == 2
    pattern = r"error: topk.select 1000000 x 1000000 \S+ .* needs about \d+\.\d GB, .* has \d+\.\d GB; narrow it with"
    assert re.search(pattern, finished.err), finished.err
    assert list(tmp_path.glob("*/*.json")) == []


def test_visible_devices_mean_nothing_without_a_gpu(usage: Callable[..., Finished]) -> None:
    """A variable left over from another machine: auto is the CPU, and a GPU that is asked for isn't there."""
    finished = usage("tune", "--gpus", "0", variables={"CUDA_VISIBLE_DEVICES": "0"})
    assert finished.code == 2
    assert "no NVIDIA GPU on this machine" in finished.err


def test_a_backend_without_candidates_is_said(usage: Callable[..., Finished]) -> None:
    finished = usage("tune", "--op", "topk", "--backend", "torch.sdpa")
    assert finished.code == 2
    assert "torch.sdpa" in finished.err


def test_a_slip_in_a_config_is_one_line(usage: Callable[..., Finished], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"num_attention_heads": 32, "num_key_value_heads": 5, "hidden_size": 4096}))
    finished = usage("tune", "--config", config)
    assert finished.code == 2
    (line,) = finished.err.splitlines()
    assert line.startswith("error: ")
