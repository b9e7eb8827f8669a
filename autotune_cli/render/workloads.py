"""The workloads of a run, one row each where the terminal is wide enough for all of it. Where it isn't, the winner's
name goes below the row; where the figures alone are too wide, they do too. Nothing is ever cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from autotune_cli.render.run_rows import WORKLOAD_COLUMNS, workload_row
from autotune_cli.render.text import winner_share_of_floor
from autotune_cli.results.schema import WorkloadResult

_HEAD = ("operation", "batch", "context")
_FIGURES = ("time us", "baseline", "speed-up", "floor")
# Baselines without a time.
_ODD = {"wrong": "red", "missing": "yellow"}
_LEFT = ("operation", "mode", "winner")
# Between columns: two spaces in the wide table, one in the narrow ones.
_GAP = 2
_INDENT = "  "


def workloads_view(results: Sequence[WorkloadResult], baseline: str | None, width: int) -> RenderableType:
    """For a terminal of ``width`` columns; ``baseline``: name of the one in the table, None: the default."""
    rows = [_cells(result, baseline) for result in results]
    if _is_wide(rows, width):
        return Text("\n").join(_aligned(WORKLOAD_COLUMNS, rows, _GAP))
    return Group(*_narrow(rows, width))


def heights(results: Sequence[WorkloadResult], baseline: str | None, width: int) -> tuple[int, int]:
    """Lines of the view's header, and the most that one of the workloads takes."""
    rows = [_cells(result, baseline) for result in results]
    if not rows or _is_wide(rows, width):
        return 1, 1
    head = len(_heads(rows, width)[0])
    return head, max(head + len(_winner(row, width)) for row in rows)


def _is_wide(rows: Sequence[Sequence[Text]], width: int) -> bool:
    return _aligned(WORKLOAD_COLUMNS, rows, _GAP)[0].cell_len <= width


def _narrow(rows: Sequence[Sequence[Text]], width: int) -> list[RenderableType]:
    head, *others = _heads(rows, width)
    view: list[RenderableType] = list(head)
    for lines, row in zip(others, rows, strict=True):
        view += lines
        view += [Padding(line, (0, 0, 0, len(_INDENT)), expand=False) for line in _winner(row, width)]
    return view


def _heads(rows: Sequence[Sequence[Text]], width: int) -> list[list[Text]]:
    """What stands before the winners, the header first: the operation without its family, and all figures; on a line
    of their own where one line is too short.
    """
    shapes = [[Text(row[0].plain.removeprefix("attention.")), *row[1:3]] for row in rows]
    figures = [row[5:9] for row in rows]
    one = _aligned((*_HEAD, *_FIGURES), [[*shape, *each] for shape, each in zip(shapes, figures, strict=True)], 1)
    if one[0].cell_len <= width:
        return [[line] for line in one]
    two = zip(_aligned(_HEAD, shapes, 1), _aligned(_FIGURES, figures, 1), strict=True)
    return [[shape, Text(_INDENT).append_text(each)] for shape, each in two]


def _winner(row: Sequence[Text], width: int) -> list[Text]:
    """``graph: its name, 3 tied``; the name alone on a line where that saves it from being broken."""
    mode, winner, ties = row[3], row[4], row[9]
    tied = "" if ties.plain == "-" else f", {ties.plain} tied"
    line = Text(f"{mode.plain}: ").append_text(winner).append(tied)
    room = width - len(_INDENT)
    if line.cell_len > room >= winner.cell_len:
        return [Text(f"{mode.plain}{tied}:"), winner]
    return [line]


def _aligned(names: Sequence[str], rows: Sequence[Sequence[Text]], gap: int) -> list[Text]:
    """The header and the rows as lines of equal width, numbers at the right of their columns."""
    head = [Text(name) for name in names]
    widths = [max(cell.cell_len for cell in column) for column in zip(head, *rows, strict=True)]
    lines = []
    for number, row in enumerate((head, *rows)):
        # A style of the whole would go to what is appended to it, too.
        line = Text(style="" if number else "bold")
        for column, (name, cell, width) in enumerate(zip(names, row, widths, strict=True)):
            padding = Text(" " * (width - cell.cell_len))
            line.append(" " * gap if column else "")
            line.append_text(cell + padding if name in _LEFT else padding + cell)
        lines.append(line)
    return lines


def _cells(result: WorkloadResult, baseline: str | None) -> list[Text]:
    """Those of ``WORKLOAD_COLUMNS``, with their colours."""
    row, held = workload_row(result, baseline), result.baseline(baseline)
    if row.winner is None:
        name = Text("none", style="red")
    else:
        name = Text(row.winner, style="dim" if result.reused else "")
        if row.winner_is_default:
            name.append(" (default)", style="dim")
    is_faster = row.winner is not None and held is not None and (held.speedup or 0.0) > 1.0
    return [
        *map(Text, (row.operation, row.batch, row.context, row.mode)),
        name,
        Text(row.time),
        Text(row.baseline, style=_ODD.get(row.baseline, "")),
        Text(row.gain, style="green" if is_faster else ""),
        Text(row.floor, style="red" if (winner_share_of_floor(result) or 0.0) > 1.0 else ""),
        Text(row.ties),
    ]
