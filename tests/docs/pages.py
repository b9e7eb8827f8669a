"""Commands and shown outputs of README.md and docs/*.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<kind>\S*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}[^\n]*\n|\n(?= {4}))+)")
_INLINE = re.compile(r"`(autotune\s(?:-|[a-z]+\s)[^`]*)`")
_COMMAND = re.compile(r"(?:^|[\s/])(autotune (?:-|[a-z]+\b)[^;&|\n]*)")
# A file of a commit, which the test reads as the file itself.
_OF_A_COMMIT = re.compile(r"<\(git show [^\s:)]+:([^\s)]+)\)")
# What a shell prints is no command.
_PRINTED = re.compile(r"\becho\b|\bmarker=")


@dataclass(frozen=True)
class Command:
    """``autotune`` with its words, as a page has it.

    Attributes:
        where: The page's name.
        words: Without ``autotune`` and without comments.
        shown: What the page shows below it, line by line; empty: nothing.
    """

    where: str
    words: tuple[str, ...]
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: autotune {shlex.join(self.words)}"


def commands(name: str, page: str) -> Iterator[Command]:
    """Those of all code, in blocks and within lines; ``...`` as a word stands for anything and makes it none."""
    for text, shown in _pieces(page):
        for found in _COMMAND.findall(text):
            words = tuple(shlex.split(_OF_A_COMMIT.sub(r"\1", found), comments=True)[1:])
            if "..." not in words:
                yield Command(name, words, shown)


def _pieces(page: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Lines that hold commands, each with the output that a ``console`` block shows below it."""
    for block in _FENCE.finditer(page):
        if block["kind"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                yield line, tuple(output.splitlines())
        elif block["kind"] in ("", "text", "yaml"):
            yield from ((line, ()) for line in block["text"].splitlines() if not _PRINTED.search(line))
    rest = _FENCE.sub("", page)
    for indented in _INDENTED.findall(rest):
        yield from ((line.strip().removeprefix("$ "), ()) for line in indented.splitlines())
    prose = _INDENTED.sub("\n", rest)
    yield from ((" ".join(text.split()), ()) for text in _INLINE.findall(prose))


def difference(shown: tuple[str, ...], printed: list[str]) -> str | None:
    """The first shown line that wasn't printed, or None. Figures and the width of columns don't count.

    A line ``...`` stands for any number of lines, ``...`` at the end of one for its rest. Lines that a page folds are
    not known as such: pages show them whole, or with ``...``.
    """
    position, anywhere = 0, False
    lines = [line for line in map(_plain, printed) if line]
    for line in filter(None, map(_plain, shown)):
        if line == "...":
            anywhere = True
            continue
        fits = [n for n in range(position, len(lines)) if _fits(line, lines[n])]
        if not fits or not (anywhere or fits[0] == position):
            return line
        position, anywhere = fits[0] + 1, False
    return None if anywhere or position == len(lines) else f"(more was printed) {lines[position]}"


def _fits(shown: str, printed: str) -> bool:
    return printed.startswith(shown[:-3].rstrip()) if shown.endswith("...") else printed == shown


def _plain(line: str) -> str:
    return " ".join(re.sub(r"\d[\d.,]*", "#", line).split())
