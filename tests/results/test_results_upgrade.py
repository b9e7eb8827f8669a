"""Files of schema version 1 get the baseline that they really had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.errors import BadFile
from autotune_cli.results.files import read_run
from autotune_cli.results.upgrade import upgrade

REAL = sorted((Path(__file__).parents[1] / "data/diff").glob("h200.*.json"))


def old(operation: str, kind: str, status: str = "ok", default: bool = True) -> dict[str, Any]:
    """What an upgrade looks at in a file of version 1."""
    candidate = {"key": "a", "default": default, "status": status, "reason": "none" if status != "ok" else None}
    choice = {"winner": "b", "default": "a" if default else None, "speedup": 1.5, "speedup_interval": [1.4, 1.6]}
    result = {
        "workload": {"operation": operation}, "environment": "e", "candidates": [candidate, {"key": "b"}],
        "choice": choice if status == "ok" else None,
    }  # fmt: skip
    return {"schema_version": 1, "environments": {"e": {"device_kind": kind}}, "workloads": [result]}


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    result, changed = upgrade(document, Path("x.json"))
    assert changed
    assert result["schema_version"] == 2
    workload: dict[str, Any] = result["workloads"][0]
    return workload


@pytest.mark.parametrize(
    ("operation", "kind", "name"),
    [
        ("attention.decode", "cuda", "sglang --attention-backend flashinfer"),
        ("attention.extend", "cpu", "sglang --attention-backend torch_native"),
        ("topk.select", "cuda", "sglang"),
        ("topk.select", "cpu", "sglang --dsa-topk-backend torch"),
    ],
)
def test_the_default_of_version_1_has_its_name(operation: str, kind: str, name: str) -> None:
    workload = upgraded(old(operation, kind))
    (baseline,) = workload["baselines"]
    assert (baseline["name"], baseline["candidate"], baseline["version_from"]) == (name, "a", "not recorded")
    assert (baseline["speedup"], baseline["missing"]) == (1.5, None)
    assert workload["choice"]["over"] == name


def test_a_default_that_was_wrong_is_missing_with_its_reason() -> None:
    workload = upgraded(old("topk.select", "cuda", "incorrect"))
    assert workload["baselines"][0]["missing"] == "incorrect: none"
    assert "speedup" not in workload["baselines"][0]


def test_a_workload_without_a_default_has_no_baseline() -> None:
    assert "baselines" not in upgraded(old("attention.decode", "cuda", default=False))


def test_a_damaged_file_is_no_traceback() -> None:
    document = old("attention.decode", "cuda")
    document["workloads"][0]["environment"] = "another"
    with pytest.raises(BadFile, match="a damaged file of schema version 1: KeyError"):
        upgrade(document, Path("x.json"))


@pytest.mark.parametrize("path", REAL[:3], ids=lambda path: path.name)
def test_real_files_of_version_1(path: Path) -> None:
    assert json.loads(path.read_text())["schema_version"] == 1
    for result in read_run(path).workloads:
        baseline = result.baseline()
        assert baseline is not None
        assert result.choice is not None
        assert baseline.name == result.choice.over == "sglang --attention-backend flashinfer"
        assert (baseline.candidate, baseline.speedup) == (result.choice.default, result.choice.speedup)
