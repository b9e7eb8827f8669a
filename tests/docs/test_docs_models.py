"""docs/models.md: its table is made from the models' files."""

from __future__ import annotations

import pytest
from model_table import PAGE, page_with, table

from autotune_cli.kernels.models import model_names

COMMAND = "python tests/docs/model_table.py"


def test_the_table_is_that_of_the_files() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page_with(text, table()) == text, f"docs/models.md is out of date; run: {COMMAND}"
    assert f"`{COMMAND}`" in text


def test_every_model_has_a_row() -> None:
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(model_names())
    assert all(row.count("|") == 6 for row in rows), "a note with a bar would be two cells"


def test_a_page_without_its_table() -> None:
    assert page_with(f"before\n{table()}after\n", "made\n") == "before\nmade\nafter\n"
    with pytest.raises(ValueError, match="0 tables"):
        page_with("no table", table())
