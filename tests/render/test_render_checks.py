"""The matrix of backends and kinds of input, in every format, whatever is in it."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from autotune_cli.kernels.registry import Candidate
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.render.check_formats import COLUMNS, CheckView
from autotune_cli.render.check_rows import matrices
from autotune_cli.render.formats import Page, find_format, format_names
from autotune_cli.results.schema import CaseEvidence, Status
from autotune_cli.tuning.cells import Cell
from autotune_cli.tuning.messages import Checked

MEASURE = "wrong indices in the worst row"
# A terminal's colour, a spreadsheet's formula, markup, a line's end, an invisible character.
HOSTILE = "=cmd|'x'!A0 \x1b[31m<b>@someone|\n\u202e"
SMALL, WIDE = (TopkWorkload.select(rows=4, width=width, k=64) for width in (4096, 1 << 20))


def cell(
    status: Status,
    case: str = "normal",
    error: float | None = None,
    of: Candidate | None = None,
    at: TopkWorkload = SMALL,
) -> Cell:
    reason = None if status == "ok" else f"{status} {HOSTILE}"
    judged = status in ("ok", "incorrect")
    evidence = CaseEvidence(case=case, ok=status == "ok", measure=MEASURE, error=error, limit=0.0) if judged else None
    fix = "pip install x" if status == "unavailable" else None
    return Cell(at, case, of or Candidate("lib.fast"), Checked(status, evidence, reason), fix)


DETERMINISTIC = Candidate("lib.fast", (("deterministic", True),))
HOSTILE_ONE = Candidate(HOSTILE)
CELLS = [
    cell("ok", "normal", 0.0),
    cell("ok", "normal", 0.0, DETERMINISTIC),
    cell("incorrect", "equal", 7.0),
    cell("ok", "equal", 0.0, DETERMINISTIC),
    cell("incorrect", "equal", 12.0, at=WIDE),
    cell("timeout", "relu"),
    cell("crashed", "relu", of=DETERMINISTIC),
    cell("incorrect", "normal", None, HOSTILE_ONE),
    cell("skipped", "equal", of=HOSTILE_ONE),
    cell("unavailable", "", of=Candidate("other.kernel")),
]
VIEW = CheckView(HOSTILE, CELLS, 1)


def test_a_word_is_that_of_the_worst_candidate_on_the_worst_shape() -> None:
    (matrix,) = matrices(CELLS)
    assert (matrix.operation, matrix.measure) == ("topk.select", MEASURE)
    assert matrix.backends == ("lib.fast", HOSTILE, "other.kernel")
    assert dict(matrix.rows) == {
        "normal": ("ok", "wrong", "-"),
        "equal": ("12 1/2", "-", "-"),
        "relu": ("hangs", "-", "-"),
    }


@pytest.mark.parametrize("name", format_names("check"))
def test_nothing_in_a_text_is_obeyed(name: str) -> None:
    text = find_format("check", name).render(VIEW, Page())
    assert isinstance(text, str)
    assert text.endswith("\n")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "lib.fast" in text
    if name == "csv":
        assert not re.search(r"(^|,)\"?[=+@-]", text, flags=re.MULTILINE)


def test_the_table_says_what_is_wrong_where_and_what_is_missing() -> None:
    text = find_format("check", "table").render(VIEW, Page())
    assert re.search(r"^equal +12 1/2 +- +-$", text, re.MULTILINE)  # type: ignore[arg-type]
    assert "! lib.fast: wrong on equal, relu; topk.select 4 x 4096 k64 eager float32, relu: timeout" in text
    assert "get it: pip install x" in text
    assert "8 checks of 3 candidates: 3 right, 5 wrong; 1 candidates can't run here" in text


def test_json_and_csv_have_each_check() -> None:
    document = json.loads(find_format("check", "json").render(VIEW, Page()))
    assert (document["right"], document["wrong"], document["exit_code"]) == (3, 5, 1)
    assert [row["error"] for row in document["checks"]] == [0, 0, 7, 0, 12, None, None, None, None, None]
    assert document["checks"][1]["candidate"] == "lib.fast(deterministic=true)"
    assert document["checks"][-1]["case"] is None
    text = find_format("check", "csv").render(VIEW, Page())
    assert isinstance(text, str)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(CELLS)
    assert tuple(rows[0]) == COLUMNS
    assert [row["status"] for row in rows] == [each.status for each in CELLS]
