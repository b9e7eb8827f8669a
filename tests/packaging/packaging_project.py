"""A copy of what is packaged, so that builds leave nothing in the checkout; and how to install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGED = ("autotune_cli", "kernels", "pyproject.toml", "setup.py", "README.md", "LICENSE", ".importlinter")
CONTRACTS = "tests/packaging/import_contracts.py"


def copy_of_the_project(target: Path, bytecode: bool = False) -> Path:
    """The folders and files in a new folder; the link autotune_cli/kernels stays a link.

    Args:
        bytecode: copied too, for what runs the copy: Python takes that of sources which are not edited.
    """
    target.mkdir()
    ignore = shutil.ignore_patterns(".*_cache", *(() if bytecode else ("__pycache__", "*.pyc")))
    for name in PACKAGED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=ignore)
        elif source.exists():
            shutil.copy(source, target / name)
    (target / CONTRACTS).parent.mkdir(parents=True)
    shutil.copy(ROOT / CONTRACTS, target / CONTRACTS)
    return target


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed. PYTHON* and PIP_* of the caller don't count."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(python: Path, *what: str | Path) -> None:
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd=python.parent)


def build(source: Path, target: Path, *options: str) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", target, source, cwd=target.parent)
