"""The candidates of one workload: a table, or where that would break names and reasons to pieces, each candidate's name
and below it the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.render.folding import Record, folded
from autotune_cli.render.run_rows import CANDIDATE_COLUMNS, candidate_cells
from autotune_cli.results.schema import MEASURED, CandidateResult, WorkloadResult

# A reason is folded into a column no narrower than this; four gaps of two spaces, and the header of the rounds.
_NOTE = 48
_COLUMNS_GAP = 14
_STYLES = {
    "ok": "",
    "eliminated": "dim",
    "duplicate": "dim",
    "skipped": "yellow",
    "unsupported": "dim",
    "unavailable": "yellow",
    "incorrect": "bold red",
    "error": "red",
    "timeout": "red",
    "crashed": "red",
    "out_of_memory": "red",
}


def candidates_view(result: WorkloadResult, width: int) -> RenderableType:
    """For a terminal of ``width`` columns; the fastest first."""
    candidates = sorted(result.candidates, key=_by_time)
    # Text: names and reasons may hold square brackets, which rich would take for markup.
    rows = [([Text(cell) for cell in candidate_cells(each, result)], _STYLES[each.status]) for each in candidates]
    widest = [max((cells[column].cell_len for cells, _ in rows), default=0) for column in range(len(CANDIDATE_COLUMNS))]
    title = Text(result.key, style="bold")
    if sum(widest[:4]) + min(widest[4], _NOTE) + _COLUMNS_GAP <= width:
        return _table(result.key, rows)
    return folded([_record(cells, style) for cells, style in rows], title)


def _record(cells: Sequence[Text], style: str) -> Record:
    name, status, time, rounds, note = cells
    facts = [status.plain]
    facts += [f"{time.plain} us"] if time.plain != "-" else []
    facts += [f"{rounds.plain} rounds"] if rounds.plain else []
    told = f": {note.plain}" if note.plain else ""
    return Record(name, (Text(", ".join(facts) + told),), style)


def _table(title: str, rows: Sequence[tuple[Sequence[Text], str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in CANDIDATE_COLUMNS:
        numbers = name in ("time us", "rounds")
        folds = name in ("candidate", "")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=not folds)
    for cells, style in rows:
        table.add_row(*cells, style=style)
    return table


def _by_time(candidate: CandidateResult) -> tuple[int, float, str]:
    group = 0 if candidate.status in MEASURED else 1 if candidate.rough_us else 2
    return group, candidate.median_us or candidate.rough_us or 0.0, candidate.key
