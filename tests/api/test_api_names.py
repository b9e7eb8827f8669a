"""The names that ``autotune_cli`` offers, and what asking for them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import autotune_cli

SOURCE = Path(autotune_cli.__file__).read_text(encoding="utf-8")


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh Python holds after the code."""
    ask = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", autotune_cli.__all__)
def test_a_name_is_there(name: str) -> None:
    found = getattr(autotune_cli, name)
    assert found is not None
    assert getattr(found, "__doc__", None), f"{name} says nothing of itself"
    assert name in dir(autotune_cli)


def test_the_type_checker_is_told_of_the_same_names() -> None:
    (checked,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If) and not node.orelse][:1]
    told = {
        (alias.name, statement.module)
        for statement in checked.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert told == {(name, f"autotune_cli.{module}") for name, module in autotune_cli._MODULE_OF.items()}
    assert {name for name, _ in told} | {"__version__"} == set(autotune_cli.__all__)
    assert (Path(autotune_cli.__file__).parent / "py.typed").exists()


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'read_runs'"):
        _ = autotune_cli.read_runs  # type: ignore[attr-defined]


def test_importing_the_package_loads_nothing() -> None:
    assert not loaded("import autotune_cli") & {"pydantic", "numpy", "pandas", "rich", "typer", "torch"}


def test_reading_a_run_loads_neither_pandas_nor_torch() -> None:
    assert not loaded("from autotune_cli import read_run, load_cache") & {"pandas", "pyarrow", "rich", "typer", "torch"}
