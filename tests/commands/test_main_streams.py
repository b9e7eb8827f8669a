"""stdout and stderr that are closed, full, not read or without Unicode, of real processes: it counts how they end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.results.files import dump_run
from autotune_cli.results.schema import CandidateResult, Choice, Environment, RunFile, Settings, WorkloadResult

CALL = f"exec {sys.executable} -m autotune_cli"
RAGGED = "profile --from-trace example-ragged --paged"  # a failed check: exit code 1
PASSED = "profile --from-trace example --paged"
FULL = "error: can't write standard output: no space left on device"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(line: str, folder: Path, variables: Mapping[str, str] | None = None) -> tuple[int, bytes, str]:
    """Exit code, output and error output of a line for a shell; those of its redirections are empty."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=folder, env=environment | (variables or {}), check=False
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        (f"{CALL} {RAGGED} >/dev/full", 4, FULL),
        (f"{CALL} {PASSED} --format json >/dev/full", 4, FULL),
        (f"{CALL} --version >/dev/full", 4, FULL),
        (f"{CALL} tune --help >/dev/full", 4, FULL),
        # There is no place to tell it.
        (f"{CALL} {RAGGED} >/dev/full 2>&1", 4, ""),
        (f"{CALL} diff no.json no.json 2>/dev/full", 2, ""),
        # Who closes a stream doesn't want it, as who doesn't read a pipe.
        (f"{CALL} {RAGGED} >&-", 1, ""),
        (f"{CALL} {RAGGED} --format markdown >&-", 1, ""),
        (f"{CALL} {PASSED} >&- 2>&- <&-", 0, ""),
        (f"{CALL} diff no.json no.json 2>&-", 2, ""),
        (f"({CALL} {RAGGED}; echo $? >&2) | true", 0, "1"),
        (f"({CALL} {RAGGED} --format json; echo $? >&2) | true", 0, "1"),
        (f"({CALL} {PASSED}; echo $? >&2) | true", 0, "0"),
        (f"({CALL} --help; echo $? >&2) | true", 0, "0"),
    ],
)
def test_streams_that_take_nothing(tmp_path: Path, line: str, code: int, err: str) -> None:
    # `exec` would leave no shell to tell the code.
    found = shell(line.replace("(exec ", "("), tmp_path)
    assert found == (code, b"", f"{err}\n" if err else "")


def test_one_line_of_a_pipe_is_read(tmp_path: Path) -> None:
    """Written in one piece or in several, the rest is nobody's."""
    line = f"({CALL} {RAGGED} --format json; echo $? >&2) | head -1".replace("(exec ", "(")
    assert shell(line, tmp_path) == (0, b"{\n", "1\n")


def test_what_is_opened_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Or the worker's socket would get the number of stdin, which its process has another use for."""
    assert shell(f"{CALL} kernels --device cpu <&- >&- 2>&-", tmp_path) == (0, b"", "")


def run(path: Path, label: str) -> None:
    """A run of one workload whose only candidate has that label."""
    workload = AttentionWorkload(
        operation="attention.decode",
        geometry=Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128),
        batch=64,
        context=8192,
        mode="graph",
    )
    candidate = CandidateResult(
        key="a", backend="a", label=label, status="ok", median_us=9.0, interval_us=(8.9, 9.1),
        rounds=(0, 1, 2), rounds_us=(9.0, 8.9, 9.1),
    )  # fmt: skip
    result = WorkloadResult(
        workload=workload, key=workload.key, environment="e", identity={}, candidates=(candidate,),
        choice=Choice(winner="a", tie_set=("a",), best="a", default=None, reason="separated"),
        measured_at="2026-11-21T09:30:12Z",
    )  # fmt: skip
    document = RunFile(
        kind="run", name="r", created="2026-11-21T09:30:12Z", program="p", command=("autotune", "tune", label),
        environments={"e": Environment(device_kind="cuda", device="NVIDIA H200", python="3.12.3")}, environment="e",
        settings=Settings(timer="cupti", l2="cold", rounds=3, iterations=25, seed=0), workloads=(result,),
    )  # fmt: skip
    path.write_text(dump_run(document))


@pytest.mark.parametrize(
    "variables", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}], ids=["C", "ascii", "latin-1"]
)
def test_without_unicode_there_is_ascii(tmp_path: Path, variables: dict[str, str]) -> None:
    run(tmp_path / "a.json", "µ 中🔴 ±")
    code, out, err = shell(f"{CALL} show a.json", tmp_path, variables)
    assert code == 0
    assert err.isascii()
    text = out.decode("ascii")
    assert "9.00 +- 0.10" in text
    assert "<=8192" in text
    assert "u \\u4e2d[!] +-" in text


@pytest.mark.parametrize("format", ["table", "markdown", "json", "csv"])
def test_every_format_without_unicode(tmp_path: Path, format: str) -> None:
    run(tmp_path / "a.json", "中🔴 ±")
    code, out, err = shell(f"{CALL} diff a.json a.json --all --format {format}", tmp_path, ASCII)
    assert (code, err) == (0, "")
    text = out.decode("ascii")
    if format == "json":
        assert [candidate["label"] for candidate in json.loads(text)["candidates"]] == ["中🔴 ±"]
    if format == "csv":
        assert [row["label"] for row in csv.DictReader(text.splitlines())] == ["\\u4e2d[!] +-"]


@pytest.mark.parametrize("variables", [{}, ASCII], ids=["utf-8", "C"])
def test_a_file_name_that_is_not_utf_8(tmp_path: Path, variables: dict[str, str]) -> None:
    code, out, err = shell(rf"{CALL} show $'no\xff\x1b.json'", tmp_path, variables)
    assert (code, out) == (2, b"")
    assert err.startswith("error: no\\udcff\\x1b.json: no such file")
