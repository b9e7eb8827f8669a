"""docs/contributing.md, and a copy of the program to which what it shows is added."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pages import ROOT

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))
from packaging_project import copy_of_the_project

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
HEAD = "| file | what is in it |\n|---|---|\n"


def sections() -> list[str]:
    """Their titles, in order."""
    return re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)


def text_of(title: str) -> str:
    """A section, without its title."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def files_of(title: str) -> list[str]:
    """The first column of the section's table of files."""
    table = text_of(title).split(HEAD, 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)


def blocks_of(title: str) -> dict[str, str]:
    """The section's blocks, by the files that they belong to."""
    return dict(re.findall(r"^```\w+ (\S+\.\w+)\n(.*?)^```$", text_of(title), flags=re.MULTILINE | re.DOTALL))


def fits(path: str, pattern: str) -> bool:
    """Is it a file that the page names so? What stands in ``<>`` is for the reader to choose."""
    return re.fullmatch(re.sub(r"<[a-z]+>", "[^/]+", re.escape(pattern)), path) is not None


class Copy:
    """A copy of the program whose files are edited; which ones were is remembered.

    Attributes:
        root: The copy.
        work: An empty folder, in which commands run.
        edited: Paths below ``root``.
    """

    def __init__(self, folder: Path) -> None:
        self.root = copy_of_the_project(folder / "project", bytecode=True)
        self.work = folder / "work"
        self.work.mkdir()
        self.edited: set[str] = set()

    def create(self, name: str, text: str) -> None:
        """A new file in a folder that is there."""
        assert not (self.root / name).exists(), name
        (self.root / name).write_text(text, encoding="utf-8")
        self.edited.add(name)

    def replace(self, name: str, old: str, new: str) -> None:
        """What a file has once."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.edited.add(name)

    def insert(self, name: str, lines: str, before: str) -> None:
        """Lines in front of the first line that begins so."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        at = re.search(rf"^{re.escape(before)}", text, re.MULTILINE)
        assert at is not None, before
        path.write_text(text[: at.start()] + lines + text[at.start() :], encoding="utf-8")
        self.edited.add(name)

    def python(self, *words: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A Python whose ``autotune_cli`` is the copy's, and which sees no GPU."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTUNE_", "SGLANG_"))
        }
        fixed = {"PYTHONPATH": str(self.root), "COLUMNS": "200", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.work,
            env=kept | fixed | (variables or {}),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def autotune(self, *words: str, code: int | None = None) -> subprocess.CompletedProcess[str]:
        """The copy's command line; it must end with the code, if one is given."""
        done = self.python("-m", "autotune_cli", *words)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done
