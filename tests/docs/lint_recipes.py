"""Lints the CI recipes of a page: ``python tests/docs/lint_recipes.py docs/ci.md`` (``make check``).

Schemas of GitHub and GitLab (check-jsonschema, which carries both), rules for safe workflows (zizmor, offline), and
bash's own parser for every script. Exit code 1: something was found, and is told.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recipes import Recipes

SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
PROGRAMS = Path(sys.executable).parent


def commands(files: dict[str, list[Path]]) -> Iterator[list[str]]:
    """One command a linter and kind of file."""
    for kind, schema in SCHEMAS.items():
        options = ["--builtin-schema", schema, *(["--data-transform", "gitlab-ci"] if kind == "gitlab" else [])]
        yield [sys.executable, "-m", "check_jsonschema", *options, *map(str, files[kind])]
    # The regular rules: unpinned actions, injection by templates, kept credentials, permissions that are too wide ...
    yield [program("zizmor"), "--offline", "--no-progress", "--color=never", *map(str, files["github"])]


def program(name: str) -> str:
    """Beside this Python, or else on the path."""
    return str(PROGRAMS / name) if (PROGRAMS / name).exists() else name


def complaints(page: Path) -> list[str]:
    """What each linter that is not content says."""
    found = []
    recipes = Recipes.read(page)
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(recipes.write(Path(folder))):
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                found.append(f"{' '.join(command[:4])}\n{done.stdout}{done.stderr}")
    for place, script in recipes.scripts():
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            found.append(f"{place}: {done.stderr}")
    return found


def main(pages: list[str]) -> int:
    found = [complaint for page in pages for complaint in complaints(Path(page))]
    for complaint in found:
        print(complaint, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
