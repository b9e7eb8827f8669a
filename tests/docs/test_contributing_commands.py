"""docs/contributing.md on commands and options: its blocks, put where the page says, are all that it takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import ROOT

from autotune_cli.kernels.models import model_names

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))
from packaging_project import copy_of_the_project

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
APP, SHOW = "autotune_cli/app.py", "autotune_cli/commands/show.py"
COMMAND, OPTIONS = "autotune_cli/commands/models.py", "autotune_cli/commands/options/show.py"
RESULT = ROOT / "tests" / "data" / "diff" / "h200.20261121_073639.json"

Call = Callable[..., subprocess.CompletedProcess[str]]


def blocks_of(title: str) -> dict[str, str]:
    """The blocks of a section of the page, by the files that they belong to."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL))


def insert(path: Path, lines: str, before: str) -> None:
    """Put lines in front of the first line that begins so."""
    text = path.read_text(encoding="utf-8")
    at = re.search(rf"^{re.escape(before)}", text, re.MULTILINE)
    assert at is not None, before
    path.write_text(text[: at.start()] + lines + text[at.start() :], encoding="utf-8")


@pytest.fixture(scope="module")
def autotune(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The program of a copy of the package with the page's blocks in it, and no other change."""
    folder = tmp_path_factory.mktemp("contributed")
    project = copy_of_the_project(folder / "project")
    command, option = blocks_of("Adding a command"), blocks_of("Adding an option")
    assert not (project / COMMAND).exists()
    (project / COMMAND).write_text(command[COMMAND], encoding="utf-8")
    imported, entry = command[APP].splitlines(keepends=True)
    insert(project / APP, imported, "from autotune_cli.commands.")
    insert(project / APP, entry, '    "kernels": ')
    imported, field = option[OPTIONS].splitlines(keepends=True)
    insert(project / OPTIONS, imported, "from autotune_cli.commands.")
    insert(project / OPTIONS, field, "    format: ")
    insert(project / SHOW, option[SHOW], "    errors = ")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTUNE_"))}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "autotune_cli", *words],
            cwd=folder,
            env=kept | {"PYTHONPATH": str(project), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def test_the_page_names_these_files() -> None:
    assert list(blocks_of("Adding a command")) == [COMMAND, APP]
    assert len(blocks_of("Adding a command")[APP].splitlines()) == 2
    assert list(blocks_of("Adding an option")) == [OPTIONS, SHOW]


def test_the_command_runs(autotune: Call) -> None:
    assert autotune("models").stdout.split() == list(model_names())
    first = next(name for name in model_names() if "llama-3.1" in name)
    assert autotune("models", "--like", "llama-3.1", "--most", "1").stdout == f"{first}\n"
    refused = autotune("models", "--most", "0")
    assert (refused.returncode, refused.stderr) == (2, "error: --most: 0 is below 1\n")
    refused = autotune("models", "--config", "x")
    assert (refused.returncode, refused.stderr) == (2, "error: --config: names no model of the catalogue\n")


def test_the_command_has_help(autotune: Call) -> None:
    assert re.search(r"^  models +List the models that --model takes\.$", autotune("--help").stdout, re.MULTILINE)
    text = autotune("models", "--help").stdout
    assert re.search(r"--most N +At most so many\. +\[default: 1000\]", text)
    # A shared option, which is declared elsewhere.
    assert re.search(r"--config FILE +A Hugging Face config\.json", text)
    assert "autotune models --like llama --most 3" in text


def test_the_option_is_used(autotune: Call) -> None:
    rows = autotune("show", str(RESULT), "--first", "2", "--format", "csv").stdout.splitlines()[1:]
    every = autotune("show", str(RESULT), "--format", "csv").stdout.splitlines()[1:]
    assert rows == every[: len(rows)]
    assert len({row.split(",")[0] for row in rows}) == 2 < len({row.split(",")[0] for row in every})
    refused = autotune("show", str(RESULT), "--first", "many")
    assert (refused.returncode, refused.stderr) == (2, "error: --first: 'many' is no whole number\n")
    assert re.search(r"--first N +Only the first workloads\.", autotune("show", "--help").stdout)
