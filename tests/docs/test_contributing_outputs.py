"""docs/contributing.md on formats and timers: its files, in a copy of the package, are all that it takes.

One measurement uses both: a run with the page's timer, printed in the page's format.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import ROOT
from running import TINY

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))
from packaging_project import copy_of_the_project

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
FORMAT, TIMER = "autotune_cli/render/formats/tsv.py", "autotune_cli/measure/timers/cpu_time.py"

Call = Callable[..., subprocess.CompletedProcess[str]]


def files_of(title: str) -> dict[str, str]:
    """The files that a section of the page has, by their paths."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def autotune(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The program of a copy of the package, to which the page's files were added and nothing else was done."""
    folder = tmp_path_factory.mktemp("contributed")
    project = copy_of_the_project(folder / "project")
    for path, text in {**files_of("Adding an output format"), **files_of("Adding a timer")}.items():
        assert not (project / path).exists()
        assert (project / path).parent.is_dir()
        (project / path).write_text(text, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOTUNE_", "SGLANG_"))}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "autotune_cli", *words],
            cwd=folder,
            env=kept | {"PYTHONPATH": str(project), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    return call


def test_each_is_one_file() -> None:
    assert list(files_of("Adding an output format")) == [FORMAT]
    assert list(files_of("Adding a timer")) == [TIMER]


def test_a_run_is_measured_by_the_timer_and_printed_in_the_format(autotune: Call) -> None:
    done = autotune("tune", "--device", "cpu", "--no-cache", *TINY, "--timer", "cpu_time", "--format", "tsv")
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head == "workload\twinner\ttime_us"
    key, winner, us = row.split("\t")
    assert key.startswith("topk.select 2 x 4096")
    assert winner.startswith("torch.")
    assert float(us) > 0.0
    # The same result again, with the timer's words.
    assert autotune("show", "--format", "tsv").stdout == done.stdout
    assert "warm caches, processor time (of all threads together), " in autotune("show").stdout
    written = autotune("show", "--format", "tsv", "--output", "run.tsv")
    assert written.returncode == 0, written.stderr
    assert written.stdout == ""


def test_help_and_messages_know_both(autotune: Call) -> None:
    words = " ".join(autotune("tune", "--help").stdout.split())
    assert "cupti, events (GPU) or cpu_clock, cpu_time. Default: the best one." in words
    assert re.search(r"\btsv\b", words)
    message = autotune("show", "--format", "tvs").stderr
    assert "unknown format 'tvs'; did you mean 'tsv'? (known: table, " in message
    message = autotune("tune", "--device", "cpu", "--timer", "cpu_tim").stderr
    assert "unknown timer 'cpu_tim'; did you mean 'cpu_time'? (known: cpu_clock, cpu_time)" in message
    # Of a comparison the page's format shows nothing, so it isn't one of its formats.
    assert "unknown format 'tsv'" in autotune("diff", "latest", "latest", "--format", "tsv").stderr
