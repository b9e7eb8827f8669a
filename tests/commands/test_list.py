"""``autotune list``: every result that is there, broken ones included."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from recorded import recorded
from running import Autotune


@pytest.fixture
def program(autotune: Autotune) -> Autotune:
    """With a cache of two devices, a run, and what can't be read."""
    for folder in ("cache", "runs"):
        (autotune.root / folder).mkdir()
    shutil.copy(recorded("llama-3.1-8b"), autotune.root / "cache")
    shutil.copy(recorded("qwen2.5-7b"), autotune.root / "runs" / "qwen.20261127_133621.json")
    (autotune.root / "cache" / "cut.json").write_text("{")
    (autotune.root / "cache" / "folder.json").mkdir()
    (autotune.root / "cache" / ".hidden.json").write_text("{")
    (autotune.root / "runs" / "notes.json").write_text("{}")
    return autotune


def test_caches_then_runs_a_row_a_device(program: Autotune) -> None:
    document = json.loads(program("list", "--format", "json", code=0).out)
    found = [(each["kind"], each["name"], each["device"]) for each in document["results"]]
    assert found == [
        ("cache", "cut", None),
        ("cache", "folder", None),
        ("cache", "llama-3.1-8b", "NVIDIA H200"),
        ("cache", "llama-3.1-8b", "NVIDIA H100 80GB HBM3"),
        ("run", "qwen.20261127_133621", "NVIDIA H200"),
        ("run", "qwen.20261127_133621", "NVIDIA H100 80GB HBM3"),
    ]
    h100 = document["results"][3]
    assert (h100["workloads"], h100["chosen"], h100["over"], h100["complete"]) == (20, 20, "sglang", True)
    assert h100["speedup_interval"][0] < h100["speedup"] < h100["speedup_interval"][1]
    assert "cut short" in document["results"][0]["problem"]
    assert document["results"][1]["problem"] == "is no file"


def test_its_names_are_those_that_show_takes(program: Autotune) -> None:
    for each in json.loads(program("list", "--format", "json", code=0).out)["results"]:
        if each["problem"] is None:
            assert program("show", each["name"], code=0).out


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_nothing_is_cut_on_a_terminal(program: Autotune, columns: int) -> None:
    out = program.with_variables(COLUMNS=str(columns), FORCE_COLOR="1")("list", code=0).out
    for text in ("llama-3.1-8b", "qwen.20261127_133621", "NVIDIA H100 80GB HBM3", "can't be read"):
        assert text.replace(" ", "") in "".join(out.split())


def test_rows_as_csv_and_markdown(program: Autotune) -> None:
    rows = list(csv.DictReader(io.StringIO(program("list", "--format", "csv", code=0).out)))
    assert [row["name"] for row in rows][:3] == ["cut", "folder", "llama-3.1-8b"]
    assert rows[2]["gain"].endswith("x over sglang --attention-backend flashinfer")
    assert program("list", "--format", "markdown", code=0).out.count("\n") == 2 + len(rows)


def test_one_workload_has_no_interval_over_workloads(autotune: Autotune) -> None:
    run = json.loads(recorded("llama-3.1-70b-tp8").read_text())
    run["workloads"] = run["workloads"][:1]
    (autotune.root / "cache").mkdir()
    (autotune.root / "cache" / "one.json").write_text(json.dumps(run))
    (found,) = json.loads(autotune("list", "--format", "json", code=0).out)["results"]
    assert found["problem"] is None
    assert found["speedup"] > 0.0
    assert found["speedup_interval"] is None


def test_a_mean_of_some_workloads_says_of_how_many(autotune: Autotune) -> None:
    run = json.loads(recorded("llama-3.1-70b-tp8").read_text())
    for result in run["workloads"][3:]:
        result["choice"] |= {"speedup": None, "speedup_interval": None}
    (autotune.root / "cache").mkdir()
    (autotune.root / "cache" / "some.json").write_text(json.dumps(run))
    (row,) = csv.DictReader(io.StringIO(autotune("list", "--format", "csv", code=0).out))
    assert row["gain"].endswith("x over sglang --attention-backend flashinfer, 3 workloads")


def test_where_nothing_is(autotune: Autotune) -> None:
    assert autotune("list", code=0).out.startswith("no results in")
    assert json.loads(autotune("list", "--format", "json", code=0).out)["results"] == []
