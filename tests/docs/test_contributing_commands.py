"""docs/contributing.md on commands and options: its blocks, put where the page says, are all that it takes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from contributing import Copy, blocks_of, files_of, fits
from pages import ROOT

from autotune_cli.kernels.models import model_names

APP, SHOW = "autotune_cli/app.py", "autotune_cli/commands/show.py"
COMMAND, OPTIONS = "autotune_cli/commands/models.py", "autotune_cli/commands/options/show.py"
RESULT = ROOT / "tests" / "data" / "diff" / "h200.20261121_073639.json"

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def autotune(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The program of a copy of the package with the page's blocks in it, and no other change."""
    copy = Copy(tmp_path_factory.mktemp("contributed"))
    command, option = blocks_of("Adding a command"), blocks_of("Adding an option")
    copy.create(COMMAND, command[COMMAND])
    imported, entry = command[APP].splitlines(keepends=True)
    copy.insert(APP, imported, "from autotune_cli.commands.")
    copy.insert(APP, entry, '    "kernels": ')
    imported, field = option[OPTIONS].splitlines(keepends=True)
    copy.insert(OPTIONS, imported, "from autotune_cli.commands.")
    copy.insert(OPTIONS, field, "    format: ")
    copy.insert(SHOW, option[SHOW], "    errors = ")
    return lambda *words: copy.python("-m", "autotune_cli", *words, variables={"COLUMNS": "100"})


def test_the_page_names_these_files() -> None:
    for title, named in (("Adding a command", [COMMAND, APP]), ("Adding an option", [OPTIONS, SHOW])):
        assert list(blocks_of(title)) == named
        assert all(map(fits, named, files_of(title)))
        assert len(files_of(title)) == len(named)
    assert len(blocks_of("Adding a command")[APP].splitlines()) == 2


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
