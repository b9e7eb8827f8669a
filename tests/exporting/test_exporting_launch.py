"""The script that starts the planned server, run by a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_runs import candidate, fa3, real, result, run, workload

from autotune_cli.exporting.target import Material, find_target
from autotune_cli.planning.plan import Request
from autotune_cli.results.schema import RunFile

# Stands for python and vllm: tells how it was called.
_SERVER = """#!/bin/sh
exec {python} -c 'import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get("{variable}")]))' "$@"
"""


def started(
    tmp_path: Path, of: RunFile, *pins: str, to: str = "sglang", more: tuple[str, ...] = (), **variables: str
) -> tuple[list[str], str | None]:
    """The words that the server gets, and what it sees of a variable."""
    target = find_target(to)
    (text,) = target.make(Material(of, Request(engine=target.engine, pins=pins))).files.values()
    script = tmp_path / "serve.sh"
    assert isinstance(text, str)
    script.write_text(text)
    for name in ("python", "vllm"):
        server = tmp_path / name
        server.write_text(_SERVER.format(python=sys.executable, variable="SGLANG_FLASHINFER_USE_PAGED"))
        server.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", str(script), *more], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    words, variable = json.loads(done.stdout)
    return words, variable


def test_flags_reach_the_server(tmp_path: Path) -> None:
    words, variable = started(tmp_path, real("llama-3.1-8b-fp8"), more=("--port", "30001"))
    assert words == [
        "-m", "sglang.launch_server", "--model-path", "meta-llama/Llama-3.1-8B",
        "--kv-cache-dtype", "fp8_e4m3", "--page-size", "128", "--port", "30001",
    ]  # fmt: skip
    assert variable is None


def test_variables_and_gpus_reach_the_server(tmp_path: Path) -> None:
    words, variable = started(tmp_path, real("llama-3.1-70b-tp8", "h200"), "SGLANG_FLASHINFER_USE_PAGED=1")
    assert words[2:] == [
        "--model-path", "meta-llama/Llama-3.1-70B", "--tp-size", "8", "--attention-backend", "flashinfer",
    ]  # fmt: skip
    assert variable == "1"


def test_vllm(tmp_path: Path) -> None:
    words, _ = started(tmp_path, real("llama-3.1-8b"), "block_size=64", to="vllm")
    assert words == [
        "serve", "meta-llama/Llama-3.1-8B", "--attention-backend", "FLASHINFER", "--block-size", "64",
    ]  # fmt: skip


def test_nothing_to_tell(tmp_path: Path) -> None:
    words, _ = started(tmp_path, real("gpt-oss-120b"))
    assert words == ["-m", "sglang.launch_server", "--model-path", "openai/gpt-oss-120b"]


def test_a_model_that_isnt_known_is_asked_for(tmp_path: Path) -> None:
    of = run(
        result(workload("decode"), candidate(fa3("decode", 1), 9.0), default=fa3("decode", 1)),
        name="my model\n; touch /tmp/x $(touch /tmp/x)",
        command=("autotune", "tune", "--config", "x"),
    )
    words, _ = started(tmp_path, of, MODEL="/models/a b")
    assert words == ["-m", "sglang.launch_server", "--model-path", "/models/a b"]
    with pytest.raises(AssertionError, match="set MODEL to the model to serve"):
        started(tmp_path, of)


def test_a_line_says_what_it_gains_and_what_it_costs() -> None:
    (text,) = find_target("sglang").make(Material(real("llama-3.1-8b"), Request(engine="sglang"))).files.values()
    lines = str(text).splitlines()
    assert "  --page-size 128  # 1.061x (1.054 .. 1.069) with it" in lines
    assert any(line.startswith("# the weighted step: 1.061x (1.054 .. 1.069) over sglang (0.5.23)") for line in lines)
    assert sum(line.startswith("# can't be told: ") for line in lines) == 4
    (text,) = (
        find_target("sglang")
        .make(Material(real("llama-3.1-8b"), Request(engine="sglang", pins=("attention_backend=flashinfer",))))
        .files.values()
    )
    assert "  --attention-backend flashinfer  # 0.794x" in str(text)
    assert "; slower with it: attention.extend 1 x 512+1536 by 183.9 % (180.6 .. 187.3), " in str(text)


_CONFIG = {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "num_hidden_layers": 2}


def test_a_server_of_a_config_json_gets_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my model's"
    folder.mkdir()
    for name, loaded in (("config.json", str(folder)), ("layers.json", "/other")):
        (folder / name).write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16", **_CONFIG}))
        of = run(
            result(workload("decode"), candidate(fa3("decode", 1), 9.0), default=fa3("decode", 1)),
            name="mine",
            command=("autotune", "tune", "--config", str(folder / name)),
        )
        words, _ = started(tmp_path, of, MODEL="/other")
        assert words == ["-m", "sglang.launch_server", "--model-path", loaded]
