"""A copy of what is packaged, so that builds leave nothing in the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGED = ("autotune_cli", "kernels", "pyproject.toml", "setup.py", "README.md", "LICENSE", ".importlinter")


def copy_of_the_project(target: Path) -> Path:
    """The folders and files in a new folder; the link autotune_cli/kernels stays a link."""
    target.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc")
    for name in PACKAGED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=ignore)
        elif source.exists():
            shutil.copy(source, target / name)
    return target
