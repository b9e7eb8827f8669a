"""docs/api.md: its example runs and prints what the page shows; its tables have the columns that frames have."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from pages import ROOT, difference

import autotune_cli
from autotune_cli import AutotuneError, load_cache
from autotune_cli.api import frames

pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = doctest.DocTestParser().get_examples(
    "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
)


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first column of a section's table."""
    rows = [line.split(" | ")[0] for line in section(title).splitlines() if line.startswith("| ")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_example_prints_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to figures, as on the other pages: results are measured again."""
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    compared = 0
    for example in EXAMPLES:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example.source, "docs/api.md", "single"), names)
        wrong = difference(tuple(example.want.splitlines()), printed.getvalue().splitlines())
        assert wrong is None, f"{example.source}prints\n{printed.getvalue()}"
        compared += bool(example.want)
    assert compared >= 4


def test_the_page_has_every_column_of_both_frames() -> None:
    columns = {*frames._WORKLOAD, *frames._MEASURED, *frames._CANDIDATE}
    named = first_cells("Columns of `frame()`")
    assert {name for name in named if not name.startswith(("version_", "speedup over NAME"))} == columns
    assert {"version_torch", "speedup over NAME", "speedup over NAME low", "speedup over NAME high"} <= set(named)
    assert set(first_cells("Columns of `rounds()`")) == set(frames._ROUND)


def test_the_types_on_the_page_are_those_of_the_frames() -> None:
    run = load_cache("llama-3.1-8b", root=ROOT)
    for title, frame in (("Columns of `frame()`", run.frame()), ("Columns of `rounds()`", run.rounds())):
        checked = 0
        for line in section(title).splitlines():
            if line.startswith("| `"):
                names, kind = line.split(" | ")[:2]
                for name in re.findall(r"`([^`]+)`", names):
                    assert str(frame.dtypes[name.replace("NAME", "sglang")]) == kind, name
                    checked += 1
        assert checked > 8


def test_the_page_has_every_call_and_error() -> None:
    calls = {name.partition("(")[0] for name in first_cells("Reading")}
    assert {"read_run", "load_cache"} <= calls
    found = [getattr(autotune_cli, name) for name in autotune_cli.__all__]
    errors = {each.__name__ for each in found if isinstance(each, type) and issubclass(each, AutotuneError)}
    assert set(first_cells("Errors")) == errors - {"AutotuneError"}
    run = load_cache("llama-3.1-8b", root=ROOT)
    for name in ("path", "file", "name", "workloads", "environments", "doubts"):
        assert name in calls
        assert hasattr(run, name)
