"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.comparing.exit_status import ExitStatus
from autotune_cli.comparing.records import Report
from autotune_cli.comparing.verdicts import Tone
from autotune_cli.render.console import Console
from autotune_cli.render.diff_model import DiffModel
from autotune_cli.render.diff_rows import DiffRow
from autotune_cli.render.folding import INDENT, Record, folded
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.tones import STYLES

# Rows beyond this are counted unless everything is asked for.
MOST_ROWS = 60
# Notes are folded into a column no narrower than this.
_NOTE = 30
# In files and pipes a row a line is worth more: there names are folded, too.
_WHAT, _SHORT_NOTE = 48, 16
_GAP = 2


def print_diff(console: Console, report: Report, result: ExitStatus, every: bool = False) -> None:
    """The whole comparison: environment, rows by importance, counts, means, the exit code in words."""
    model, say = DiffModel(report, result, every), console.say
    for line in model.environment:
        say(f"environment: {line.text}", STYLES[line.tone])
    if not model.environment:
        say("environment: no difference", "dim")
    for side in model.sides:
        say(side, "dim")
    if model.basis is not None:
        say(model.basis, "dim")
    for note in report.notes:
        say(f"note: {note}", "yellow")
    if report.refusal is not None:
        say(model.exit_text, "red")
        return
    rows = shown_record(model.rows)
    if rows:
        console.print()
        console.print(_view(rows if every else rows[:MOST_ROWS], console.width, console.is_terminal))
        if not every and len(rows) > MOST_ROWS:
            say(f"... {len(rows) - MOST_ROWS} more rows; --all shows them", "dim")
    console.print()
    for name, only in model.only:
        listed = only if every else only[:3]
        more = f" and {len(only) - len(listed)} more" if len(only) > len(listed) else ""
        say(f"only in {name}: {len(only)} ({', '.join(listed)}{more})", "yellow")
    say(model.totals)
    if model.choice_totals is not None:
        say(model.choice_totals)
    for mean in model.means:
        say(f"geometric mean {mean.operation}: {mean.value}, {mean.of}")
    for extreme in model.extremes:
        say(extreme, "dim")
    say(model.exit_text, "red" if result.exit_code else "")


def _view(rows: Sequence[DiffRow], width: int, whole: bool) -> RenderableType:
    """A table where all of it but the notes has room, names too if they shall stay ``whole``; else a record a row."""
    cells = [(_word(row), row.workload, row.what, row.times, row.change, row.note) for row in rows]
    widest = [max(cell_len(row[column]) for row in cells) for column in range(6)]
    gaps = _GAP * sum(1 for each in widest[:5] if each)
    what, note = (widest[2], _NOTE) if whole else (min(widest[2], _WHAT), _SHORT_NOTE)
    if widest[0] + widest[1] + what + widest[3] + widest[4] + min(widest[5], note) + gaps <= width:
        return _table(rows)
    return folded([_record(row, width - INDENT) for row in rows])


def _record(row: DiffRow, room: int) -> Record:
    style = STYLES[row.tone]
    change = Text(row.times + ("  " if row.times and row.change else "")).append(row.change, style=style)
    return Record(
        Text.assemble((_word(row), style), f"  {row.workload}"),
        (*(Text(part) for part in _names(row.what, room)), change, Text(row.note)),
    )


def _names(what: str, room: int) -> list[str]:
    """Names as they fit into ``room`` columns: old and new, and what a candidate is beside its name, go apart before a
    name is broken.
    """
    if cell_len(what) <= room:
        return [what]
    old, arrow, new = what.partition(" -> ")
    if arrow:
        return [f"{old} ->", new]
    name, bracket, role = what.rpartition(" (")
    return [name, f"({role}"] if bracket else [what]


def _table(rows: Sequence[DiffRow]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for fold in (False, False, True, False, False, True):
        table.add_column(overflow="fold", no_wrap=not fold)
    for row in rows:
        style = STYLES[row.tone]
        cells = (_word(row), row.workload, row.what, row.times, row.change, row.note)
        table.add_row(*(Text(cell, style=style if index in (0, 4) else "") for index, cell in enumerate(cells)))
    return table


def _word(row: DiffRow) -> str:
    """In capitals where other rows have the same word and are no news, so that the two differ without colours too."""
    return row.word.upper() if row.tone is Tone.NEWS else row.word
