"""``autotune show``: which result, and in which form."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, failed, result, run_file

from autotune_cli.results.files import dump_run

Usage = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    odd = failed("=cmd|x", "error", "multi\nline | @someone <b>")
    for name, us in (("runs/mine.20261121_093012", 10.0), ("runs/mine.20261121_093013", 20.0), ("cache/llama", 30.0)):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        fast, slow = candidate("fast", us), candidate("slow", 171.3, default=True)
        path.write_text(dump_run(run_file(result(decode(), fast, slow, odd))))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "us"),
    [
        ((), 20.0),
        (("latest",), 20.0),
        (("previous",), 10.0),
        (("llama",), 30.0),
        (("mine",), 20.0),
        (("runs/mine.20261121_093012.json",), 10.0),
        (("latest", "--name", "mine"), 20.0),
    ],
)
def test_a_result_by_name(usage: Usage, results: Path, arguments: tuple[str, ...], us: float) -> None:
    done = usage("show", *arguments, "--format", "json")
    assert done.code == 0, done.err
    assert [entry["time_us"] for entry in done.summary["workloads"]] == [us]
    assert f"{us:.2f} ± 0.50" in usage("show", *arguments).out


def test_another_root(usage: Usage, results: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert usage("show", "--root", "elsewhere").code == 2
    assert usage("show", "--root", results).code == 0
    assert usage("show", variables={"AUTOTUNE_ROOT": str(results)}).code == 0


def test_no_such_result_and_no_such_format(usage: Usage, results: Path) -> None:
    done = usage("show", "lama")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'llama'?" in done.err
    assert "unknown format 'xml'" in usage("show", "--format", "xml").err


def test_csv_has_every_candidate_and_no_formula(usage: Usage, results: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(usage("show", "--format", "csv").out)))
    assert [row["candidate"] for row in rows] == ["fast", "slow", "'=cmd|x"]
    assert [row["choice"] for row in rows] == ["winner", "", ""]
    assert rows[0]["time_us"] == "20.0"
    assert rows[1]["baselines"] == "sglang"
    assert rows[2]["reason"] == "multi\\nline | @someone <b>"


def test_markdown_is_a_table_without_markup_of_others(usage: Usage, results: Path) -> None:
    short, long = (usage("show", "--format", "markdown", *more).out for more in ((), ("--all",)))
    assert "| attention.decode | 64 | ≤8192 | graph | fast | 20.00 ± 0.50 | 171.3 | 1.278 ± .003 |" in short
    assert "=cmd" not in short
    rows = [line for line in long.splitlines() if line.startswith("| =cmd")]
    assert rows == ["| =cmd\\|x | error | - |  | multi\\\\nline \\| @&ZeroWidthSpace;someone &lt;b&gt; |"]


def test_json_is_what_tune_prints(usage: Usage, results: Path) -> None:
    document = json.loads(usage("show", "llama", "--format", "json").out)
    assert document["path"] == "cache/llama.json"
    assert set(document) >= {"path", "complete", "wall_s", "noise_floor", "speedups", "workloads"}
