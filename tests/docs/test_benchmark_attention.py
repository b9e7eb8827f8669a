"""Benchmarks of attention kernels: the tables that they print of result files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, result, run_file

from autotune_cli.results.files import dump_run
from autotune_cli.results.schema import HostTime

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = ("racing", "triton_grid", "mla_published", "replay_host")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def shown(script: Any, capsys: pytest.CaptureFixture[str], path: Path, *results: Any) -> list[str]:
    """The rows of a table, and the lines below it."""
    path.write_text(dump_run(run_file(*results)))
    assert script.main(["table", str(path)]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("| --- ")]


def test_the_grid_says_how_often_ours_is_the_fastest(script: Any, capsys: Any, tmp_path: Path) -> None:
    grid = script("triton_grid")
    shapes = grid.workloads()
    assert len({shape.key for shape in shapes}) == 27
    ours = {"backend": "triton.decode", "label": "triton.decode page 64 splits 4"}
    slow = candidate("late", None, status="skipped", reason="no time")
    results = [
        result(shapes[0], candidate("fast", 8.0, **ours), candidate("b", 10.0, backend="flashinfer.xqa"), slow),
        result(shapes[1], candidate("fast", 12.0, **ours), candidate("b", 10.0, backend="flashinfer.xqa")),
    ]
    lines = shown(grid, capsys, tmp_path / "grid.json", *results)
    assert lines[3] == "| 32/8 D128 | 1 x 1024 | 81.7 | 10.0 | b | 8.0 | page 64 splits 4 | 0.80 |"
    assert lines[5] == "| 32/8 D128 | 1 x 32768 | - | - | - | - | - | - |"
    assert lines[-2:] == [
        "Ours is the fastest in 1 of 2 cells, and takes at most 1.1 times the best other's time in 1. The worst ratio "
        "is 1.20 (32/8 D128, 1 x 8192).",
        "In 1 cells the time was over before every candidate was measured.",
    ]


def test_published_times_of_latent_attention_stand_beside_ours(script: Any, capsys: Any, tmp_path: Path) -> None:
    published = script("mla_published")
    rows = list(published.rows())
    assert [(row[1].latent.num_heads, row[1].batch, row[1].context) for row in rows] == [
        (heads, 128, 4096) for heads in (16, 32, 64)
    ]
    entries = (
        candidate("fast", 207.0, label="flashinfer.mla fa3 page 64"),
        candidate("flashinfer.mla(path=fa3,page_size=64)", 207.0, label="flashinfer.mla fa3 page 64"),
        candidate("sgl_kernel.flashmla", 215.4),
    )
    lines = shown(published, capsys, tmp_path / "mla.json", result(rows[0][1], *entries))
    assert "| 16 | 128 x 4096 | FlashMLA 215 | 81.7 | 215.4 | - | 207.0 fa3 page 64 | - | 1.04 |" in lines[3]
    assert "| 32 | 128 x 4096 | FlashMLA 218 | - | - | - | - | - | - |" in lines[4]


def test_replays_beside_eager_calls(script: Any, capsys: Any, tmp_path: Path) -> None:
    replay = script("replay_host")
    eager, graph = replay.pairs()[0]
    assert (eager.mode, graph.mode, len(replay.pairs())) == ("eager", "graph", 6)
    both = [
        result(shape, candidate("fast", us, host=HostTime(plan_us=plan, launch_us=launch)), candidate("other", 99.0))
        for shape, us, plan, launch in ((eager, 21.0, 300.0, 80.0), (graph, 20.0, 301.0, 10.0))
    ]
    lines = shown(replay, capsys, tmp_path / "replay.json", *both)
    assert lines[3] == "| attention.decode | 1 x 4096 | fast | 21.0 | 20.0 | 301 | 80 | 10 | 8.0 |"
    assert lines[-1] == "An eager launch takes 8.0 times as long as a replay (geometric mean)."


@pytest.mark.parametrize("name", SCRIPTS[1:])
def test_another_word_is_told_how_it_is_called(script: Any, capsys: Any, name: str) -> None:
    assert script(name).main(["what"]) == 2
    assert f"python benchmarks/{name}.py run" in capsys.readouterr().err
