from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autotune_cli.results.schema import schema_text

ROOT = Path(__file__).parents[2]
COMMAND = "python -m autotune_cli.results.schema > docs/run.schema.json"


def test_the_published_schema_is_up_to_date() -> None:
    published = (ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), f"docs/run.schema.json is out of date; run: {COMMAND}"


def test_the_command_that_makes_it() -> None:
    made = subprocess.run(
        [sys.executable, *COMMAND.split(" > ")[0].split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert made.stdout == schema_text()


def test_results_import_nothing_heavy() -> None:
    code = (
        "import sys, importlib, pkgutil, autotune_cli.results as r\n"
        "for m in pkgutil.iter_modules(r.__path__): importlib.import_module(f'{r.__name__}.{m.name}')\n"
        "print(sorted({'torch', 'rich', 'typer', 'pandas', 'numpy', 'flashinfer', 'triton'} & set(sys.modules)))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
