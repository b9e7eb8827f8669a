"""docs/contributing.md itself: its head lists its sections, and each section names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from contributing import HEAD, PAGE, files_of, sections, text_of
from pages import ROOT


def anchor(title: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def test_the_head_lists_the_sections_in_their_order() -> None:
    head = PAGE.split("\n## ", 1)[0]
    assert re.findall(r"^\| \[[^\]]+\]\(#([^)]+)\) \| .+ \|$", head, flags=re.MULTILINE) == list(
        map(anchor, sections())
    )


@pytest.mark.parametrize("title", sections())
def test_a_section_says_what_it_is_then_the_files(title: str) -> None:
    before, found, _ = text_of(title).partition(HEAD)
    assert found
    assert before.strip().endswith("."), "a sentence on what is added"
    for path in files_of(title):
        # Of a path with a name to choose, the folder.
        known = path.split("<")[0].rpartition("/")[0] if "<" in path else path
        assert (ROOT / known).exists(), path


@pytest.mark.parametrize("title", sections())
def test_a_section_is_followed_by_a_test(title: str) -> None:
    tests = sorted(path for path in Path(__file__).parent.glob("test_contributing_*.py") if path != Path(__file__))
    assert any(f'"{title}"' in path.read_text(encoding="utf-8") for path in tests)
