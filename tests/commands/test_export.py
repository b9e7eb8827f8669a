"""``autotune export``: where each target goes, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys

import pandas as pd
import pytest
from recorded import recorded
from running import Autotune

from autotune_cli.exporting.target import find_target, target_names

RESULT = ("export", "llama-3.1-8b", "--device", "h100")


@pytest.fixture
def program(autotune: Autotune) -> Autotune:
    (autotune.root / "cache").mkdir()
    shutil.copy(recorded("llama-3.1-8b"), autotune.root / "cache")
    return autotune


def test_every_target_has_a_name_and_a_line() -> None:
    assert set(target_names()) >= {"csv", "lightllm", "markdown", "parquet", "sglang", "vllm"}
    for name in target_names():
        assert find_target(name).name == name
        assert find_target(name).about


def test_a_script_on_the_terminal_and_in_a_file(program: Autotune) -> None:
    done = program(*RESULT, "--to", "sglang", code=0)
    assert done.err == ""
    assert done.out.startswith("#!/usr/bin/env bash\n")
    assert "  --page-size 128  # 1.061x (1.054 .. 1.069) with it" in done.out.splitlines()
    written = program(*RESULT, "--to", "sglang", "-o", "serve.sh", code=0)
    assert (written.out, written.err) == ("", "wrote serve.sh\n")
    assert (program.root / "serve.sh").read_text() == done.out


@pytest.mark.parametrize(("target", "executable"), [("sglang", True), ("vllm", True), ("csv", False)])
def test_a_script_is_executable_wherever_it_is_readable(program: Autotune, target: str, executable: bool) -> None:
    program(*RESULT, "--to", target, "-o", "new/file", code=0)
    mode = (program.root / "new" / "file").stat().st_mode
    assert mode & 0o111 == ((mode & 0o444) >> 2 if executable else 0)


def test_a_pin_and_a_version_go_through(program: Autotune) -> None:
    out = program(*RESULT, "--pin", "page_size=64", "--engine-version", "0.5.16", "--step-ms", "21", code=0).out
    assert "# one server of SGLang 0.5.16 for llama-3.1-8b" in out
    assert "  --page-size 64  # " in out
    assert " % of 21 ms" in out


def test_vllm_is_planned_for_itself(program: Autotune) -> None:
    out = program(*RESULT, "--to", "vllm", code=0).out
    assert out.splitlines()[1] == "# one server of vLLM for llama-3.1-8b on NVIDIA H100 80GB HBM3"
    assert "# gain over vllm: not known, so it may be a loss: vLLM's fork of FlashAttention" in out
    assert 'exec vllm serve meta-llama/Llama-3.1-8B "${flags[@]}" "$@"' in out.splitlines()


def test_tables(program: Autotune) -> None:
    rows = list(csv.DictReader(io.StringIO(program(*RESULT, "--to", "csv", code=0).out)))
    program(*RESULT, "--to", "parquet", "-o", "plan.parquet", code=0)
    frame = pd.read_parquet(program.root / "plan.parquet")
    assert list(frame.columns) == list(rows[0])
    assert frame["us"].tolist() == [float(row["us"]) for row in rows]
    assert frame["rough"].dtype == bool
    page = program(*RESULT, "--to", "markdown", code=0).out
    assert page == program("plan", *RESULT[1:], "--format", "markdown", code=0).out


def test_a_folder(program: Autotune) -> None:
    done = program(*RESULT, "--to", "lightllm", "-o", "lightllm", code=0)
    (path,) = (program.root / "lightllm").glob("**/*.json")
    assert len(json.loads(path.read_text())) == 10
    first, second, *_ = done.err.splitlines()
    assert first.startswith("wrote lightllm/common/triton_utils/autotune_kernel_configs/triton_3.6.0/")
    assert second.startswith("note: copy the folder over that of the same name in lightllm/")


def test_what_is_left_in_a_folder_is_told(program: Autotune) -> None:
    arguments = (*RESULT, "--to", "lightllm", "-o", "lightllm")
    first = program(*arguments, code=0).err
    assert "was there before" not in first
    assert program(*arguments, code=0).err == first
    (path,) = (program.root / "lightllm").glob("**/*.json")
    (path.parent / "other.json").touch()
    told = program(*arguments, code=0).err.splitlines()[-1]
    assert (
        told == f"note: was there before, and is loaded too: {(path.parent / 'other.json').relative_to(program.root)}"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--to", "lightllm"), 2, "--to: lightllm is several files: say --output FOLDER"),
        (("--to", "parquet"), 2, "--to: parquet is binary: say --output FILE"),
        (("--to", "trt"), 2, "unknown target 'trt'; did you mean 'parquet'? (known: csv, "),
        (("--to", "lightllm", "-o", "cache/llama-3.1-8b.json"), 2, "--output: lightllm is several files, and"),
        (("--to", "csv", "-o", "cache/llama-3.1-8b.json"), 2, "is the result itself, and would be replaced"),
        (("--to", "csv", "-o", "cache"), 4, "can't write cache: is a folder"),
        (("--to", "sglang", "--pin", "page_size=63"), 2, "unknown value of SGLang's page-size '63'"),
    ],
)
def test_what_is_refused(program: Autotune, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = program(*RESULT, *arguments, code=code)
    assert done.out == ""
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_package_that_is_missing_is_named_with_its_command(
    program: Autotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = program(*RESULT, "--to", "parquet", "-o", "x.parquet", code=2)
    assert (
        "--to parquet needs pyarrow, which is not installed; get it: pip install 'kernel-autotune[pandas]'" in done.err
    )
