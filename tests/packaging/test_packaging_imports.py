"""Which module imports which: the import-linter contracts can fail, and at run time nothing heavy is loaded early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from packaging_project import copy_of_the_project

HEAVY = ("torch", "pandas", "numpy", "flashinfer", "sgl_kernel", "triton")


def contracts(project: Path) -> tuple[bool, str]:
    """Are they kept? And what the linter says."""
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install import-linter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=project, capture_output=True, text=True, timeout=120
    )
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "wanted"),
    [
        ("kernels/registry.py", "import autotune_cli.tuning.plan", "autotune_cli.kernels is not allowed"),
        ("autotune_cli/results/runs.py", "def f(): import torch", "autotune_cli.results.runs -> torch"),
        ("autotune_cli/measure/statistics.py", "import autotune_cli.measure.flush", "measure.flush -> torch"),
        ("autotune_cli/tuning/plan.py", "import flashinfer", "autotune_cli.tuning.plan -> flashinfer"),
        (
            "autotune_cli/tuning/messages.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import autotune_cli.tuning.jobs",
            "No cycles are allowed in autotune_cli.tuning.",
        ),
        ("autotune_cli/newcomer.py", "", "newcomer"),
    ],
)
def test_a_broken_rule_is_reported(tmp_path: Path, file: str, line: str, wanted: str) -> None:
    own_project = copy_of_the_project(tmp_path / "project")
    with (own_project / file).open("a") as text:
        text.write(f"\n{line}\n")
    kept, said = contracts(own_project)
    assert not kept
    assert wanted in said


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh Python holds after the code."""
    ask = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules if sys.modules[name]}})"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["app", "results.schema", "results.files", "results.cache", "kernels", "kernels.models"]
)
def test_importing_loads_neither_torch_nor_a_kernel_library(module: str) -> None:
    assert not loaded(f"import autotune_cli.{module}") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from autotune_cli.app import main
sys.argv = ["autotune", "--help"]
try:
    main()
except SystemExit:
    pass
"""
    assert not loaded(code) & {*HEAVY, "pydantic", "rich"}


def test_backends_are_found_without_their_libraries() -> None:
    blocked = "import sys\nfor name in ('torch', 'flashinfer', 'sgl_kernel', 'triton'): sys.modules[name] = None"
    loaded(f"{blocked}\nfrom autotune_cli.kernels.registry import REGISTRY\nassert len(REGISTRY.all()) > 8")
