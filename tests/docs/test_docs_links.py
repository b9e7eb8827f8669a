"""Every link of the pages leads somewhere, and the site's index has every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_page import page
from pages import PAGES, ROOT

_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = _CODE.sub(lambda code: code[0].strip("`"), page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("of", PAGES, ids=lambda of: of.name)
def test_links_lead_somewhere(of: Path) -> None:
    text = _CODE.sub("", of.read_text("utf-8"))
    for target, anchor in _LINK.findall(text):
        file = (of.parent / target).resolve() if target else of
        assert file.exists(), f"{target} of {of.name}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target}#{anchor} of {of.name}"


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {target for target, _ in _LINK.findall(index)} == pages
    assert set(re.findall(r"- ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)) == pages | {
        "index.md"
    }


def test_the_page_of_commands_holds_their_help() -> None:
    """Made by tests/docs/command_page.py; Typer's versions break lines differently."""
    made = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert made.split() == page().split(), "python tests/docs/command_page.py > docs/commands.md"
