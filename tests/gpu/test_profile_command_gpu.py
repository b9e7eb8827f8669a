"""``autotune profile`` as people call it, on a real GPU: the worker, the variable, files, exit codes.

All commands are started at once, since most of their time is a process's start.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import Autotune

from autotune_cli.sglang.resolve import FORCE_PAGED

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

SMALL = ("--batch", "2", "--new", "32", "--context", "256")
TOPK = ("--mode", "topk", "--model", "deepseek-v3.2", "--batch", "8", "--phases", "eager,replay")
RAGGED_TRANSFORM = ("--backend", "flashinfer.top_k_ragged_transform")
# Value of SGLang's variable (None: unset), options.
COMMANDS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "forced by the variable": ("1", SMALL),
    "not forced by the variable": ("0", SMALL),
    "the option beats the variable": ("true", (*SMALL, "--no-paged", "--phases", "eager,capture,replay")),
    "planned, not executed": ("y", ("--mode", "dllm_extend", *SMALL)),
    "a tree of drafts": (None, ("--mode", "verify", "--eagle-topk", "4", "--batch", "2", "--context", "256")),
    "our Triton decode": (
        None,
        ("--paged", "--mode", "decode", "--backend", "triton.decode", "--batch", "2", "--context", "256"),
    ),
    "cross-attention": (None, ("--paged", "--mode", "cross", *SMALL)),
    "kept": (None, ("--mode", "decode", "--batch", "2", "--context", "256", "--trace", "decode.json.gz")),
    "the selected top-k": (None, (*TOPK, *RAGGED_TRANSFORM, "--expect", "TopK")),
    "a forbidden top-k": (None, (*TOPK, *RAGGED_TRANSFORM, "--forbid", "TopK")),
}

Finished = Callable[[str], tuple[int, dict[str, Any], Path]]


@pytest.fixture(scope="module")
def finished(shared: Callable[[], Autotune]) -> Finished:
    """Exit code, what ``--format json`` printed, and the folder of a command."""
    program = shared()
    started: dict[str, subprocess.Popen[str]] = {}
    for name, (value, options) in COMMANDS.items():
        variables = {} if value is None else {FORCE_PAGED: value}
        started[name] = program.with_variables(**variables).start("profile", "--format", "json", *options)
    done: dict[str, tuple[int, dict[str, Any], Path]] = {}

    def get(name: str) -> tuple[int, dict[str, Any], Path]:
        if name not in done:
            out, err = started[name].communicate(timeout=150)
            assert "Traceback" not in err, err
            assert out, err
            done[name] = started[name].returncode, json.loads(out), program.root
        return done[name]

    return get


def families(document: dict[str, Any]) -> dict[str, set[str]]:
    """What fired in each phase, everyday kernels and the split-KV merge aside."""
    return {phase["name"]: set(phase["families"]) - {"benign", "split_merge"} for phase in document["phases"]}


def test_the_variable_is_followed_by_eager_capture_replay_and_pieces(finished: Finished) -> None:
    """SGLang's own change has no test of its variable together with CUDA graphs."""
    code, document, _ = finished("forced by the variable")
    assert (code, document["verdict"], document["problems"]) == (0, "pass", [])
    assert families(document) == {name: {"paged"} for name in ("eager", "capture", "replay", "piecewise")}
    facts = {phase["name"]: phase["facts"][0] for phase in document["phases"]}
    assert facts["eager"] == "planned and executed paged (extend: forced paged)"
    assert facts["piecewise"] == "planned and executed paged (extend: piecewise CUDA graph and forced paged)"


def test_without_it_eager_is_ragged_and_graphs_are_paged(finished: Finished) -> None:
    code, document, _ = finished("not forced by the variable")
    assert code == 0
    pair = {"ragged", "paged", "merge"}
    paged = {name: {"paged"} for name in ("capture", "replay", "piecewise")}
    assert families(document) == {"eager": pair, **paged}


def test_the_option_beats_the_variable(finished: Finished) -> None:
    code, document, _ = finished("the option beats the variable")
    assert code == 0
    assert families(document)["eager"] == {"ragged", "paged", "merge"}


def test_a_path_that_plans_what_it_does_not_run_fails(finished: Finished) -> None:
    code, document, _ = finished("planned, not executed")
    assert (code, document["verdict"]) == (1, "fail")
    assert document["sentence"].startswith("FAIL: capture: planned paged, executed ragged (dllm_extend in a graph")
    assert {problem["code"] for problem in document["problems"]} == {"planned_not_executed"}


def test_a_tree_of_drafts_is_verified_under_its_mask(finished: Finished) -> None:
    code, document, _ = finished("a tree of drafts")
    assert (code, document["verdict"]) == (0, "pass")
    # FlashInfer packs the bits of the mask.
    assert families(document) == {name: {"paged", "index"} for name in ("eager", "capture", "replay")}
    for phase in document["phases"]:
        assert phase["facts"][0].endswith("a draft is verified over pages, under the mask of its tree)")


def test_what_our_triton_kernels_are_told_is_filled_by_kernels_that_are_known(finished: Finished) -> None:
    code, document, _ = finished("our Triton decode")
    assert (code, document["verdict"]) == (0, "pass")
    assert families(document) == {name: {"paged", "index"} for name in ("eager", "capture", "replay")}


def test_cross_attention_is_paged_in_every_phase(finished: Finished) -> None:
    code, document, _ = finished("cross-attention")
    assert (code, document["verdict"]) == (0, "pass")
    assert families(document) == {name: {"paged"} for name in ("eager", "capture", "replay")}


def test_the_kept_trace_gets_the_same_verdict_without_a_gpu(finished: Finished) -> None:
    code, document, folder = finished("kept")
    assert code == 0
    path = folder / "decode.json.gz"
    assert gzip.decompress(path.read_bytes()).lstrip().startswith(b"{")
    command = [sys.executable, "-m", "autotune_cli", "profile", "--from-trace", str(path), "--mode", "decode"]
    again = subprocess.run([*command, "--format", "json"], cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    judged = {phase["name"]: phase for phase in json.loads(again.stdout)["phases"]}
    assert judged["capture"]["state"] == "captured"
    for phase in document["phases"]:
        if phase["name"] != "capture":
            assert judged[phase["name"]]["families"] == phase["families"]
    assert judged["capture"]["captured_launches"] == document["phases"][1]["captured_launches"]


@pytest.mark.parametrize(("name", "code", "problem"), [("selected", 0, None), ("forbidden", 1, "forbidden_name")])
def test_topk_by_expect_and_forbid(finished: Finished, name: str, code: int, problem: str | None) -> None:
    found, document, _ = finished("the selected top-k" if name == "selected" else "a forbidden top-k")
    assert found == code
    assert families(document) == {"eager": {"topk"}, "replay": {"topk"}}
    codes = {each["code"] for phase in document["phases"] for each in phase["problems"]}
    assert codes == ({problem} if problem else set())
