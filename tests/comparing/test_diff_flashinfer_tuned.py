"""A file that FlashInfer's own autotuner wrote on a GPU: ``tuned_on_h100/``, of ``mm_bf16(backend="cublaslt")``.

FlashInfer 0.6.18.post1, an H100, ``autotune(True, cache=...)`` around products of 1, 16 and 64 rows. None of the
operations that ``tune`` has is tunable there: around decode attention and top-k it wrote no file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.tuning.flashinfer_choices import join

Usage = Callable[..., Any]
TUNED = Path(__file__).parent / "tuned_on_h100" / "gemm.flashinfer.json"


def altered(folder: Path, **changed: Any) -> Path:
    """A copy with another value at some keys, and with other metadata."""
    document = json.loads(TUNED.read_text())
    metadata = changed.pop("metadata", {})
    document["_metadata"] |= metadata
    document |= changed
    path = folder / "other.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def choices() -> dict[str, Any]:
    return {key: value for key, value in json.loads(TUNED.read_text()).items() if not key.startswith("_")}


def test_the_same_file_has_the_same_choices(usage: Usage, choices: dict[str, Any]) -> None:
    assert len(choices) == 13
    done = usage("diff", TUNED, TUNED, "--fail-on", "choice", "--format", "json")
    assert done.code == 0
    report = json.loads(done.out)
    assert {choice["decision"]["verdict"] for choice in report["choices"]} == {"unchanged"}
    assert len(report["choices"]) == 13
    assert report["ground"] == []


def test_another_tactic_is_a_changed_choice(tmp_path: Path, usage: Usage, choices: dict[str, Any]) -> None:
    key = next(iter(choices))
    other = altered(tmp_path, **{key: ["CublasltBf16GemmRunner", 99]}, metadata={"cudnn_version": "92000"})
    done = usage("diff", TUNED, other, "--fail-on", "choice", "--format", "json")
    assert done.code == 1
    report = json.loads(done.out)
    (changed,) = (choice for choice in report["choices"] if choice["decision"]["verdict"] == "changed")
    assert changed["workload"] == key
    assert changed["operation"] == "bf16_gemm"
    assert [row["field"] for row in report["ground"]] == ["cudnn_version"]


def test_another_gpu_is_not_comparable(tmp_path: Path, usage: Usage) -> None:
    done = usage("diff", TUNED, altered(tmp_path, metadata={"gpu": "NVIDIA H200"}))
    assert done.code == 3


def test_what_tune_joins_is_read_as_the_same_choices(tmp_path: Path, usage: Usage) -> None:
    joined = tmp_path / "cache" / "llama.flashinfer.json"
    joined.parent.mkdir()
    joined.write_text(json.dumps(join([json.loads(TUNED.read_text()), json.loads(TUNED.read_text())])))
    done = usage("diff", TUNED, joined, "--fail-on", "choice", "--format", "json")
    assert done.code == 0
    assert len(json.loads(done.out)["choices"]) == 13
