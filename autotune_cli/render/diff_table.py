"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autotune_cli.comparing.ground import Effect
from autotune_cli.comparing.outcome import Outcome
from autotune_cli.comparing.records import Report
from autotune_cli.render.diff_rows import Line, change, lines
from autotune_cli.render.diff_text import (
    basis,
    choice_totals,
    exit_text,
    extremes,
    ground_lines,
    mean_of,
    mean_text,
    sides,
    totals,
)

_STYLES = {
    "slower": "red",
    "status": "bold red",
    "faster": "green",
    "CHOICE": "magenta",
    "ambiguous": "yellow",
    "choice": "dim",
    "same": "dim",
    "eliminated": "dim",
    "not timed": "dim",
}
# Rows beyond this are counted unless everything is asked for.
MOST_ROWS = 60


def print_diff(console: Console, report: Report, result: Outcome, every: bool = False) -> None:
    """The whole comparison: ground, rows by importance, counts, means, the exit code in words."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    for item, line in zip(report.ground, ground_lines(report.ground), strict=True):
        say(f"ground: {line}", "bold red" if item.effect == Effect.BLOCKS else "yellow")
    if not report.ground:
        say("ground: no difference", "dim")
    for line in sides(report):
        say(line, "dim")
    if report.refusal is None:
        say(basis(report), "dim")
    for note in report.notes:
        say(f"note: {note}", "yellow")
    if report.refusal is not None:
        say(exit_text(result), "red")
        return
    rows = lines(report, every)
    if rows:
        console.print()
        console.print(_table(rows if every else rows[:MOST_ROWS]))
        if not every and len(rows) > MOST_ROWS:
            say(f"... {len(rows) - MOST_ROWS} more rows; --all shows them", "dim")
    console.print()
    for name, only in (("A", report.only_a), ("B", report.only_b)):
        if only:
            shown = only if every else only[:3]
            more = f" and {len(only) - len(shown)} more" if len(only) > len(shown) else ""
            say(f"only in {name}: {len(only)} ({', '.join(shown)}{more})", "yellow")
    say(totals(report))
    if report.comparisons:
        say(choice_totals(report))
    for mean in report.means:
        say(f"geometric mean {mean.operation or 'in all'}: {mean_text(mean)}, {mean_of(mean)}")
    ends = extremes(report)
    if ends is not None:
        for name, row in zip(("worst", "best"), ends, strict=True):
            number = change(row.decision.ratio, row.decision.interval)
            say(f"{name}: {number} {row.place} {row.label}, {row.verdict}", "dim")
    say(exit_text(result), "red" if result.exit_code else "")


def _table(rows: Sequence[Line]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for fold in (False, False, True, False, False, True):
        table.add_column(overflow="fold", no_wrap=not fold)
    for row in rows:
        style = _STYLES.get(row.word, "")
        cells = (row.word, row.place, row.what, row.times, row.change, row.note)
        table.add_row(*(Text(cell, style=style if index in (0, 4) else "") for index, cell in enumerate(cells)))
    return table
