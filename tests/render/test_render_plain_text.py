"""What others wrote stays text: one function for each place that text may go to."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from autotune_cli.plain_text import (
    csv_cell,
    json_text,
    markdown,
    markdown_block,
    markdown_code,
    shown,
    shown_lines,
    without_unicode,
)

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BREAK = "\N{ZERO WIDTH SPACE}"
# Lone surrogates too: JSON's \ud800, and file names that are not UTF-8.
TEXTS = st.text(st.characters() | st.sampled_from("\ud800\udcff\x1b\x9b\n\t\r|`*_<>[]!#@:$&~\\-+=1.").map(str))
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "![i](http://evil/i.png)",
    "[a](javascript:x)",
    "<!-- x",
    "a\n\n# heading\n\n**PASS**",
    "x | ok |\n| --- |",
    "`a`` ```",
    "**b** __c__ ~~d~~ *e* _f_",
    "&lt;b&gt; &#64;all",
    "$\\frac{x}$",
    "\\",
    "\\|",
    "# a",
    "- a",
    "+ a",
    "1. a",
    "23) a",
    "---",
    "===",
    "> a",
    ": a",
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J \x7f", r"\x9b2J \x7f"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.exe \u2066x\u2069", r"\u202egnp.exe \u2066x\u2069"),
        ("a\u200bb\ufeff\u00ad", r"a\u200bb\ufeff\xad"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("\U000e0041\uffff\ufffe", r"\U000e0041\uffff\ufffe"),
        ("± ≤ é 中 🔴 a\u00a0b\u3000c", "± ≤ é 中 🔴 a\u00a0b\u3000c"),
    ],
)
def test_shown(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(TEXTS)
def test_nothing_shown_is_obeyed_or_breaks(text: str) -> None:
    line = shown(text)
    assert all(character.isprintable() or character.isspace() for character in line)
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
    assert shown(line) == line


def test_lines_stay_lines() -> None:
    assert shown_lines("a\n\tb\x1b\n") == "a\n    b\\x1b\n"


def read(source: str) -> tuple[str, set[str]]:
    """What GitHub's reader sees of markdown: its text, and the kinds of markup in it."""
    text, kinds = "", set()
    for token in GITHUB.parse(source):
        kinds.add(token.type)
        for child in token.children or ():
            kinds.add(child.type)
            text += child.content
    return text, kinds


PLAIN = {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


@given(TEXTS, st.booleans())
@example("1. a", True)
@example("=", True)
def test_markdown_is_read_as_the_text_and_nothing_else(text: str, begins: bool) -> None:
    for front in ("", "- ") if begins else ("### x ", "- note: ", "**a** "):
        source = markdown(text, begins=begins)
        found, kinds = read(front + source)
        prefix = {"": "", "- ": "", "### x ": "x ", "- note: ": "note: ", "**a** ": "a "}[front]
        assert found.replace(BREAK, "").strip() == (prefix + shown(text).strip()).strip()
        assert kinds - PLAIN == read(front + "x")[1] - PLAIN
        assert "\n" not in source


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_hostile_text(text: str) -> None:
    test_markdown_is_read_as_the_text_and_nothing_else.hypothesis.inner_test(text, True)
    test_markdown_is_read_as_the_text_and_nothing_else.hypothesis.inner_test(text, False)


@given(TEXTS)
@example("a`<img>`b | c")
@example("`")
@example("\\|")
def test_a_cell_of_a_table_is_one_cell(text: str) -> None:
    for cell in (markdown(text), markdown_code(text, in_table=True)):
        tokens = GITHUB.parse(f"| a | b |\n|---|---|\n| {cell} | end |\n")
        cells = [token for token in tokens if token.type == "inline"][2:]
        assert len(cells) == 2
        assert cells[1].content == "end"
        seen = "".join(child.content for child in cells[0].children or ()).replace(BREAK, "")
        # Blanks at the ends of a cell, and of code, are the table's.
        assert " ".join(seen.split(" ")).strip() == shown(text).strip()
        assert {child.type for child in cells[0].children or ()} <= {"text", "text_special", "code_inline"}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("@everyone and a@b.c, x/@y", r"@\w"),
        ("fixes #12, org/repo#3", r"#\d"),
        ("GH-7 gh-8", r"(?i)gh-\d"),
        (":white_check_mark: :x:", r":[a-z_]+:"),
        ("http://github.com/a/b/issues/1 https://x", r"https?://"),
        ("www.evil.com", r"www\.\w"),
    ],
)
def test_nobody_is_called(text: str, calls: str) -> None:
    """GitHub looks for these in the text of the finished page, where a backslash is gone."""
    found, _ = read(markdown(text))
    assert not re.search(calls, found)
    assert found.replace(BREAK, "") == text


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    assert markdown("|" * 300, most=10) == "\\|" * 7 + "..."


def test_no_line_ends_a_block_of_code() -> None:
    block = markdown_block(["```", "<img>", "````"], "toml")
    (token,) = GITHUB.parse("\n".join(block))
    assert (token.type, token.info, token.content) == ("fence", "toml", "```\n<img>\n````\n")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-"])
def test_a_cell_that_a_spreadsheet_computes_is_a_text(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell(text), "end"])
    ((cell, end),) = csv.reader(io.StringIO(stream.getvalue()))
    assert end == "end"
    assert cell[0] in ("'", "\\")  # an escape stands first: no formula either


def test_cells_that_are_numbers_or_harmless_stay() -> None:
    cells = [-1.5, 3, None, "", "a=b", "x-1", "flashinfer.decode(path=fa3)"]
    assert list(map(csv_cell, cells)) == cells


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers()


DOCUMENTS = st.recursive(TEXTS | NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5)


@given(DOCUMENTS, st.booleans())
def test_json_is_the_same_when_parsed_and_obeyed_by_nobody(document: object, ascii_only: bool) -> None:
    text = json_text(document, ascii_only)
    assert all(character.isprintable() or character.isspace() for character in text)
    text.encode("ascii" if ascii_only else "utf-8")
    # Two halves of a character in a row are one character in JSON.
    assert json.loads(text) == json.loads(json.dumps(document))


def test_numbers_that_json_does_not_have_are_null() -> None:
    document = {"a": [1.0, float("nan")], "b": (float("inf"), {"c": -float("inf")})}
    assert json.loads(json_text(document)) == {"a": [1.0, None], "b": [None, {"c": None}]}


def test_without_unicode() -> None:
    assert without_unicode("9.87 ± 0.12, ≤4096 … é 中", "ascii") == "9.87 +- 0.12, <=4096 ... \\xe9 \\u4e2d"
    assert without_unicode("± é 中", "latin-1") == "+- é \\u4e2d"
