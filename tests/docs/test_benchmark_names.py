"""Scripts of benchmarks/ that take result files take them by name, as ``autotune show`` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, result, run_file

from autotune_cli.results.files import dump_run

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "names", "words"),
    [
        ("speedup.py", ("llama",), "| llama | 1 | 1.28 |"),
        ("speedup.py", ("cache", "latest"), "| llama | 2 | 1.28 |"),
        ("noise.py", ("previous", "latest"), "winners: 1 the same"),
        ("regret.py", ("runs/mine", "llama"), "of 1 workloads"),
    ],
)
def test_a_result_by_name(tmp_path: Path, script: str, names: tuple[str, ...], words: str) -> None:
    for name in ("runs/mine.20261121_093012", "runs/mine.20261121_093013", "cache/llama"):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        entry = result(decode(), candidate("fast", 20.0), candidate("slow", 171.3, default=True), device_s=1.0)
        path.write_text(dump_run(run_file(entry)))
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *names], cwd=tmp_path, capture_output=True, text=True
    )
    assert words in done.stdout, done.stdout + done.stderr


def test_no_such_result_says_what_there_is(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "speedup.py"), "no-such"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "no-such: no such file, folder or result" in done.stderr
