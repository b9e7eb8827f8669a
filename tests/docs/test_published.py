"""benchmarks/published.py: its rows, the calls it prints, and the table from result files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autotune_cli.kernels.models import build_suite, choose_model
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.results.files import dump_run

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, result, run_file

ROOT = Path(__file__).parents[2]

UNRACED: dict[str, Any] = {"rounds": (), "rounds_us": (), "median_us": None, "interval_us": None}


@pytest.fixture(scope="module")
def published() -> ModuleType:
    spec = importlib.util.spec_from_file_location("published", ROOT / "benchmarks" / "published.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["published"] = module
    spec.loader.exec_module(module)
    return module


def test_rows_name_a_source_and_differ(published: ModuleType) -> None:
    rows = published.rows()
    assert len(rows) >= 25
    assert len({(row.source["title"], row.workload.key) for row in rows}) == len(rows)
    for row in rows:
        assert set(row.source) == {"title", "link", "hardware", "about"}
        assert row.us
        assert all(0 < us < 10_000 for us in row.us.values())
        assert row.workload.spread == "even"


def test_the_calls_ask_for_just_these_workloads(published: ModuleType, tmp_path: Path) -> None:
    asked: list[Any] = []
    for call in published.calls(tmp_path):
        assert call[0] == "tune"
        options = dict(zip(call[1::2], call[2::2], strict=False))
        suite = build_suite(
            choose_model(None, options["--config"], "cuda"),
            "cuda",
            operations=options["--op"],
            batches=options["--batch"],
            contexts=options["--context"],
            spread=options["--spread"],
            kv_dtype=options.get("--kv-dtype"),
        )
        assert all("q_dtype" in note for note in suite.notes)
        asked += suite.workloads
    assert sorted(w.key for w in asked) == sorted(w.key for w in published.to_run())
    assert "attention.decode 1 x 262144 even graph h32/4 d128 bfloat16 kv float8_e4m3fn q float8_e4m3fn" in {
        w.key for w in asked
    }


def test_a_run_races_the_libraries_of_the_columns(published: ModuleType) -> None:
    names = published.libraries()
    assert {"flashinfer.decode", "flashinfer.ragged", "flash_attn.fa4"} <= set(names)
    assert all(REGISTRY.get(name).name == name and not name.startswith("torch") for name in names)


def test_the_table_has_theirs_and_ours(published: ModuleType, tmp_path: Path, capsys: Any) -> None:
    workload = published.rows()[0].workload
    measured = [
        candidate("xqa", 6.0, backend="flashinfer.xqa", label="flashinfer.xqa page 64"),
        candidate("decode", 8.26, backend="flashinfer.decode"),
        candidate("fa3", 12.0, backend="sgl_kernel.fa3", status="eliminated", reason="1.5 times the best"),
        candidate("lucky", backend="sgl_kernel.fa3", status="eliminated", reason="late", rough_us=11.0, **UNRACED),
        candidate("broken", 1.0, backend="flash_attn.fa4", status="incorrect", reason="wrong"),
        candidate("triton", backend="triton.decode", status="eliminated", reason="late", rough_us=14.03, **UNRACED),
    ]
    path = tmp_path / "run.json"
    path.write_text(dump_run(run_file(result(workload, *measured, winner="xqa"))))
    assert published.main(["table", str(path)]) == 0
    head, line, first, second, *others = capsys.readouterr().out.splitlines()
    assert len({text.count("|") for text in (head, line, first, second, *others)}) == 1
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[0] == "decode 1 x 1024, 32/4/128 float16"
    assert cells[1] == "TileOPs 6.9, FA3 16.2, FlashInfer 9.5"
    assert cells[2:8] == ["6.0 flashinfer.xqa page 64", "12.0", "-", "6.0", "~14.0", "1.15"]
    assert cells[9].endswith("ours: NVIDIA H200, clocks not read")
    assert [cell.strip() for cell in second.strip("|").split("|")][2:8] == ["-"] * 6


def test_only_the_same_lengths_stand_beside(published: ModuleType) -> None:
    workload = published.rows()[0].workload
    for spread, is_shown in (("even", True), ("uneven", False)):
        run = run_file(
            result(
                workload.model_copy(update={"spread": spread}),
                candidate("fa3", 5.0, backend="sgl_kernel.fa3"),
                winner="fa3",
            )
        )
        assert any("| 5.0 fa3 |" in line for line in published.table([run])) == is_shown


def test_heads_make_a_config(published: ModuleType, tmp_path: Path) -> None:
    geometry = published.rows()[0].workload.geometry
    (tmp_path / "config.json").write_text(json.dumps(published.config_of(geometry)))
    assert choose_model(None, tmp_path / "config.json", "cuda").geometries() == (geometry,)


def test_the_page_has_every_row_and_usage_is_shown(published: ModuleType, capsys: Any) -> None:
    page = (ROOT / "docs" / "benchmarks-published.md").read_text()
    for row in published.rows():
        assert f"| {published.shown(row.workload)} |" in page
        assert row.source["link"] in page
    assert published.main(["no-such"]) == 2
    assert "published.py suites --run" in capsys.readouterr().err
