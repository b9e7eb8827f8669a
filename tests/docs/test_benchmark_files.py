"""Scripts of benchmarks/ that read result files: one line for what can't be read, and no check of nothing passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import recorded

ROOT = Path(__file__).parents[2]
READERS = ("speedup", "fa3_against_flashinfer", "regret", "noise")


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_result_is_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text('{"schema_version": ')
    done = script(name, file, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", READERS)
def test_without_a_file_the_usage_is_shown(name: str) -> None:
    done = script(name)
    assert done.returncode == 2
    assert f"benchmarks/{name}.py" in done.stderr


@pytest.mark.parametrize("name", ["regret", "noise"])
def test_results_without_a_workload_in_common_don_t_agree(name: str) -> None:
    done = script(name, recorded("llama-3.1-8b"), recorded("deepseek-v3.2"))
    assert done.returncode == 2
    assert done.stderr == "no workload in common\n"


def test_shares_of_the_floor_are_told_by_device(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    run = json.loads(recorded("llama-3.1-8b").read_text())
    file = tmp_path / "two.json"

    def rows(code: int) -> dict[str, list[str]]:
        file.write_text(json.dumps(run))
        done = script("ceiling", file)
        assert done.returncode == code
        lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {file}")]
        return {device: cells for _, device, *cells in lines}

    found = rows(0)
    assert set(found) == {"NVIDIA H200", "NVIDIA H100 80GB HBM3"}
    assert {(floors, above) for floors, _, above, _ in found.values()} == {("20", "0")}
    assert len({share for _, share, _, _ in found.values()}) == 2
    # A floor that a kernel of the H100 beats.
    last = run["workloads"][-1]
    assert "H100" in run["environments"][last["environment"]]["device"]
    last["floor_us"] *= 10.0
    assert {device: cells[2] != "0" for device, cells in rows(1).items()} == {
        "NVIDIA H200": False,
        "NVIDIA H100 80GB HBM3": True,
    }
