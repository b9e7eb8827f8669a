"""The user's own kernels after the table of a run: on a wide terminal one line each, on a narrow one a few."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from autotune_cli.comparing.own import OwnCandidate, OwnWorkload
from autotune_cli.comparing.verdicts import Tone
from autotune_cli.render.console import Console
from autotune_cli.render.diff_words import plain_word
from autotune_cli.render.own_words import COLUMNS, row_cells, since, title
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import microseconds, plural, rough
from autotune_cli.render.tones import STYLES
from autotune_cli.results.schema import FAILED

# Candidates of one workload that are shown each, the fastest; those that fail are always shown.
_SHOWN = 8
# What didn't change stands as it is: the line is of a kernel, not of its change.
_STYLES = {Tone.BETTER: STYLES[Tone.BETTER], Tone.WORSE: STYLES[Tone.WORSE]}
_WITHOUT_TIME = (*FAILED, "unsupported", "unavailable", "skipped")


def print_own(console: Console, workloads: Sequence[OwnWorkload], compared: Sequence[str], every: bool = False) -> None:
    """Nothing without own candidates.

    Args:
        compared: sentences on the run that this one is compared with.
        every: show each, however many there are.
    """
    if not workloads:
        return
    console.print()
    console.print(Text("your kernels", style="bold"))
    for line in compared:
        console.say(line, "dim")
    for workload in shown_record(list(workloads)):
        console.say(title(workload), "dim")
        for text in _lines(workload, every, console.width):
            console.print(text)


def _lines(workload: OwnWorkload, every: bool, width: int) -> list[Text]:
    right = [row for row in workload.candidates if row.result.status not in _WITHOUT_TIME]
    shown = right if every else right[:_SHOWN]
    rows = [row_cells(row, workload.in_before) for row in shown]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = []
    if rows and 2 + sum(widths) + 2 * (len(widths) - 1) <= width:
        lines = [Text(f"  {_padded(COLUMNS, widths)}", style="bold")]
        lines += [
            Text(f"  {_padded(cells, widths)}", style=_style(row)) for row, cells in zip(shown, rows, strict=True)
        ]
    else:
        for row, cells in zip(shown, rows, strict=True):
            said = [f"{name} {cell}" for name, cell in zip(COLUMNS[1:], cells[1:], strict=True) if cell != "-"]
            lines.append(Text(f"  {cells[0]}: {', '.join(said)}", style=_style(row)))
    if len(shown) < len(right):
        slowest = microseconds(right[-1].result.median_us or right[-1].result.rough_us)
        lines.append(
            Text(f"  ... {plural(len(right) - len(shown), 'slower one')}, up to {slowest} us; --all shows them")
        )
    return [*lines, *_failures(workload, every)]


def _failures(workload: OwnWorkload, every: bool) -> list[Text]:
    """The candidates without a time and why; those of one backend that fail alike are one line."""
    groups: dict[object, list[OwnCandidate]] = {}
    for row in workload.candidates:
        result = row.result
        if result.status in _WITHOUT_TIME:
            alike = (result.backend, result.status, result.reason)
            groups.setdefault(result.key if every else alike, []).append(row)
    lines = []
    for rows in groups.values():
        first = rows[0].result
        name = first.label if len(rows) == 1 else f"{first.label} and {len(rows) - 1} more"
        time = f", {rough(first.rough_us)} us" if first.rough_us else ""
        changed = since(rows[0], workload.in_before)
        before = "" if changed in ("-", "same") else f" ({changed})"
        style = "red" if first.status in FAILED else "dim"
        lines.append(Text(f"  {name}: {plain_word(first.status)}{time}: {first.reason}{before}", style=style))
    return lines


def _style(row: OwnCandidate) -> str:
    return _STYLES.get(row.before.verdict.row.tone, "") if row.before is not None else ""


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column to the left, the time to the right, the rest to the left."""
    return "  ".join(
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
