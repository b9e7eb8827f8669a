"""The workloads of a run, one row each; on a narrow terminal a row and, below it, the winner's name."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from autotune_cli.render import baselines
from autotune_cli.render.text import (
    batch_and_context,
    operation,
    percent,
    share_of_floor,
    speedup,
    with_interval,
)
from autotune_cli.results.schema import WorkloadResult

# The figures take 92 columns; a winner's name needs some 30 more, or it is folded letter by letter.
_WIDE = 124
_FIGURES = ("batch", "context", "time us", "baseline", "speed-up", "floor")


def workloads_view(results: Sequence[WorkloadResult], baseline: str | None, width: int) -> Table | Text:
    """For a terminal of ``width`` columns; ``baseline``: name of the one in the table, None: the default."""
    return _wide(results, baseline) if width >= _WIDE else _narrow(results, baseline)


def lines_each(width: int) -> int:
    """Lines that a workload takes."""
    return 1 if width >= _WIDE else 2


def _narrow(results: Sequence[WorkloadResult], baseline: str | None) -> Text:
    """Within 80 columns: the operation without its family, the mode before the winner."""
    rows, winners = [], []
    for result in results:
        what, batch, context, mode, winner, *figures, ties = _cells(result, baseline)
        rows.append([Text(what.plain.removeprefix("attention.")), batch, context, *figures])
        tied = "" if ties.plain == "-" else f", {ties.plain} tied"
        winners.append(Text(f"  {mode.plain}: ").append_text(winner).append(tied))
    head = [Text(name) for name in ("operation", *_FIGURES)]
    widths = [max(cell.cell_len for cell in column) for column in zip(head, *rows, strict=True)]
    view = Text(no_wrap=False)
    view.append_text(_line(head, widths, "bold"))
    for row, winner in zip(rows, winners, strict=True):
        view.append("\n").append_text(_line(row, widths)).append("\n").append_text(winner)
    return view


def _line(cells: Sequence[Text], widths: Sequence[int], style: str = "") -> Text:
    line = Text(style=style)
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - cell.cell_len)
        line.append_text(cell + padding if number == 0 else Text(" " + padding) + cell)
    return line


def _wide(results: Sequence[WorkloadResult], baseline: str | None) -> Table:
    """One row a workload."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("operation", no_wrap=True)
    table.add_column("batch", justify="right", no_wrap=True)
    table.add_column("context", justify="right", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    table.add_column("winner", overflow="fold")
    table.add_column("time us", justify="right", no_wrap=True)
    table.add_column("baseline us", justify="right", no_wrap=True)
    table.add_column("speed-up", justify="right", no_wrap=True)
    table.add_column("floor", justify="right", no_wrap=True)
    table.add_column("ties", justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result, baseline))
    return table


def _cells(result: WorkloadResult, baseline: str | None) -> list[Text]:
    workload, choice = result.workload, result.choice
    batch, context = batch_and_context(workload)
    held = result.baseline(baseline)
    cell = baselines.cell(result, baseline)
    held_text = Text(cell, style="red" if cell == "wrong" else "yellow" if cell == "missing" else "")
    front = [Text(text) for text in (operation(workload), batch, context, workload.mode)]
    if choice is None:
        return [*front, Text("none", style="red"), Text("-"), held_text, Text("-"), Text("-"), Text("-")]
    winner = result.candidate(choice.winner)
    name = Text(winner.label, style="dim" if result.reused else "")
    if winner.default:
        name.append(" (default)", style="dim")
    over = held.speedup if held else None
    gain = Text(speedup(over, held.speedup_interval if held else None), style="green" if (over or 0) > 1 else "")
    ties = str(len(choice.tie_set)) if len(choice.tie_set) > 1 else "-"
    time = with_interval(winner.median_us, winner.interval_us)
    share = share_of_floor(result)
    floor = Text(percent(share), style="red" if (share or 0) > 1 else "")
    return [*front, name, Text(time), held_text, gain, floor, Text(ties)]
