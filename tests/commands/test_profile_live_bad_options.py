"""``autotune profile`` on a path, called wrongly: one line, exit 2, and nothing is started or written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Finished

from autotune_cli.commands.declaring import in_panel
from autotune_cli.commands.options.profile import ProfileOptions
from autotune_cli.worker import process

Usage = Callable[..., Finished]
LONG = "x" * 300

BAD = {
    # Names, with the nearest known one.
    ("--mode", "exten"): r"unknown mode 'exten'; did you mean 'extend'\?",
    ("--mode", "topkk"): r"unknown mode 'topkk'; did you mean 'topk'\?",
    ("--mode", ""): "unknown mode ''",
    ("--phases", "eager,repaly"): r"unknown phase 'repaly'; did you mean 'replay'\?",
    ("--phases", ""): "--phases: names no phase",
    ("--phases", "all"): "unknown phase 'all'",
    ("--pad-mode", "fake"): r"unknown padding 'fake'; did you mean 'fake-request'\?",
    ("--pad-mode", ""): "unknown padding ''",
    ("--fa", "fa4"): "unknown FlashInfer kernel 'fa4'; did you mean 'fa",
    ("--fa", ""): "unknown FlashInfer kernel ''",
    ("--model", "llama-3.1-8"): r"unknown model 'llama-3.1-8'; did you mean 'llama-3.1-8b'\?",
    ("--model", ""): "unknown model ''",
    ("--model", "cpu"): "--model: 'cpu' is the embedded suite",
    ("--model", "qwen3-8b", "--config", "x.json"): "--config: give --model or --config, not both",
    ("--config", "missing.json"): "missing.json: ",
    ("--dtype", "bf61"): r"unknown dtype for --dtype 'bf61'; did you mean 'bf16'\?",
    ("--kv-dtype", "int4"): "unknown dtype for --kv-dtype 'int4'",
    ("--format", "html"): r"unknown format 'html'.* \(known: table, markdown, json, csv\)",
    ("--expect", "("): r"--expect: '\(' is no regular expression",
    ("--forbid", "[a"): "--forbid: .* is no regular expression",
    ("--rules", "nix.toml"): "nix.toml: can't be read",
    # Backends.
    ("--backend", ""): "--backend: '' is neither NAME nor NAME",
    ("--backend", "torch.sdpa(kernel"): "--backend: .* is neither NAME nor NAME",
    ("--backend", "torch.sdpa(kernel)"): "--backend: 'kernel' is not of the form knob=value",
    (
        "--backend",
        "torch.sdpa",
        "--phases",
        "piecewise",
    ): "--phases: piecewise graphs are for SGLang's extend and mixed",
    ("--backend", "fa3", "--fa", "fa2"): "--fa: chooses FlashInfer's kernels; --backend fa3 runs FlashAttention-3",
    ("--backend", "fa3", "--mode", "dllm_extend"): r"--mode: dllm_extend is no mode of --backend fa3 \(known: decode",
    ("--backend", "fa3", "--mode", "topk"): "--backend: fa3 is a path of attention, --mode topk has none",
    ("--backend", "fa3", "--pad-mode", "fake-request", "--phases", "piecewise"): "--pad-mode: fake-request is not how ",
    ("--eagle-topk", "4"): "--eagle-topk: goes with --mode verify",
    ("--backend", "torch.sdpa", "--mode", "verify", "--eagle-topk", "4"): (
        "--eagle-topk: --backend torch.sdpa verifies no trees of drafts"
    ),
    # Numbers.
    **{(f"--{name}", "0"): f"--{name}: 0 is below 1" for name in ("batch", "new", "context", "calls", "eagle-topk")},
    **{(f"--{name}", "-3"): f"--{name}: -3 is below 1" for name in ("batch", "new", "context", "calls")},
    **{(f"--{name}", "10000001"): f"--{name}: 10000001 is above" for name in ("batch", "new", "context", "calls")},
    ("--tp", "0"): "--tp: 0 is below 1",
    ("--tp", "3"): "llama-3.1-8b --tp 3: 32 query heads don't divide by 3",
    ("--timeout", "0"): "--timeout: 0.0 is below 0.1",
    ("--timeout", "-1"): "--timeout: -1.0 is below 0.1",
    ("--timeout", "nan"): "--timeout: 'nan' is no number",
    ("--timeout", "inf"): "--timeout: inf is above 86400",
    ("--seed", "-1"): "--seed: -1 is below 0",
    ("--seed", str(2**63)): "--seed: 9223372036854775808 is above",
    # What doesn't go together.
    ("--mode", "decode", "--phases", "piecewise"): "--phases: piecewise graphs are for .*, not for --mode decode",
    ("--mode", "decode", "--new", "3"): "--new: a decode step has one new token",
    ("--context", "100", "--new", "100"): "--context: 100 keys in all leave no prefix",
    ("--no-prefix", "--context", "100"): "--context: without a prefix it is the number of new tokens",
    ("--new", "9000", "--phases", "piecewise"): "--phases: .* fit no captured size",
    ("--range", "x"): "--range: goes with --from-trace",
    ("--rank", "0"): "--rank: goes with --from-trace",
    # Where the trace is kept.
    ("--trace", "t.txt"): "--trace: t.txt: a name that ends in .json or .json.gz",
    ("--trace", "t.gz"): "--trace: t.gz: a name that ends in",
    ("--trace", "t.sqlite"): "--trace: t.sqlite: a name that ends in",
    ("--trace", ""): "--trace: .: a name that ends in",
    ("--trace", "nowhere/t.json"): "--trace: nowhere: no such folder",
    ("--trace", "file/t.json"): "--trace: file: no such folder",
    ("--trace", "folder.json"): "--trace: folder.json: can't be written",
    ("--trace", f"{LONG}.json"): "--trace: x+.json: can't be written",
    ("--trace", f"{LONG}/t.json"): "--trace: x+: no such folder",
}


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a GPU, and nobody may start something on it."""

    def start(self: process.Worker) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(process.Worker, "start", start)
    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 1)


def refused(finished: Finished, message: str) -> None:
    assert finished.code == 2
    (line,) = finished.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert finished.out == ""


@pytest.mark.parametrize("options", BAD, ids=lambda options: " ".join(options)[:50])
def test_bad_value_is_one_line_and_exit_2(usage: Usage, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    refused(usage("profile", *options), BAD[options])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.json"]


@pytest.mark.parametrize(
    "options", [("--batch", "many"), ("--tp", "x"), ("--seed", "1.5"), ("--timeout", "long"), ("--nonsense",)]
)
def test_text_for_a_number_is_exit_2(usage: Usage, options: tuple[str, ...]) -> None:
    finished = usage("profile", *options)
    assert finished.code == 2
    assert options[0] in finished.err
    assert finished.out == ""


def test_a_folder_that_can_not_be_written(usage: Usage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked before anything is run. (Whoever runs the tests may be allowed to write everywhere.)"""
    real = os.access
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode, **more: Path(path) != closed and real(path, mode, **more))
    refused(usage("profile", "--trace", closed / "t.json"), "--trace: .*t.json: can't be written")


def test_a_file_that_can_not_be_written(usage: Usage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "t.json"
    kept.write_text("{}")
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: (Path(path), mode) != (kept, os.W_OK) and real(path, mode, **more)
    )
    refused(usage("profile", "--trace", kept), "--trace: .*t.json: can't be written")
    assert kept.read_text() == "{}"


# Every option of the help's second part, with a value that says something; zeros and empty text are values too.
LIVE = {
    "model": ["llama-3.1-8b", ""],
    "config": ["config.json"],
    "tp": ["2"],
    "backend": ["torch.sdpa", "flashinfer", ""],
    "fa": ["auto", "fa3", ""],
    "phases": ["eager", ""],
    "batch": ["2"],
    "new": ["2"],
    "context": ["20"],
    "calls": ["2"],
    "eagle-topk": ["4"],
    "pad-mode": ["narrow", ""],
    "deterministic": [None],
    "multimodal": [None],
    "multi-item-scoring": [None],
    "bitwise": [None],
    "dtype": ["bf16", ""],
    "kv-dtype": ["fp8", ""],
    "kernels": ["mine.py"],
    "trace": ["t.json", ""],
    "timeout": ["5"],
    "seed": ["1", "0"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in LIVE.items() for value in values], ids=str
)
def test_what_is_for_a_path_goes_without_a_trace(usage: Usage, option: str, value: str | None) -> None:
    values = [] if value is None else [value]
    finished = usage("profile", "--from-trace", "example", "--paged", f"--{option}", *values)
    refused(finished, f"--{option}: goes with running a path, not with --from-trace")


def test_no_option_was_forgotten() -> None:
    """What stands under the heading of running a path is what goes with it."""
    assert {name.replace("_", "-") for name in in_panel(ProfileOptions, "Running a path")} == set(LIVE)


def test_a_selection_in_a_trace_is_judged_by_names(usage: Usage) -> None:
    """A trace has no mode of that name."""
    refused(usage("profile", "--from-trace", "example", "--mode", "topk"), "unknown mode 'topk'")


def test_the_help_names_every_mode(usage: Usage) -> None:
    text = re.sub(r"\s+", " ", usage("profile", "--help").out)
    for mode in ("extend", "decode", "verify", "mixed", "idle", "draft_extend", "dllm_extend", "topk"):
        assert re.search(rf"--mode \S+ .*\b{mode}\b.*--prefix", text), mode
