"""Backends against kinds of input, in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from autotune_cli.plain_text import csv_cell, json_text, markdown, shown
from autotune_cli.render.check_rows import Matrix, matrices, reasons, totals
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.formats import Page
from autotune_cli.tuning.cells import Cell

COLUMNS = ("operation", "workload", "case", "backend", "candidate", "status", "error", "limit", "measure", "reason")
_STYLES = {"ok": "green", "-": "dim"}


@dataclass(frozen=True)
class CheckView:
    """What was checked on a machine, and the exit code that it means."""

    device: str
    """Its name."""
    cells: Sequence[Cell]
    exit_code: int


def check_table(view: CheckView, page: Page) -> str:
    def draw(console: Console) -> None:
        for matrix in matrices(view.cells):
            console.say(f"{matrix.operation} on {view.device}: {matrix.measure}", style="dim")
            for number, backend in enumerate(matrix.backends, start=1):
                console.say(f"{number} {backend}")
            console.print(_drawn(matrix))
            console.print()
        for backend, reason in reasons(view.cells):
            console.say(f"! {backend}: {reason}", style="yellow")
        console.say(totals(view.cells))

    return drawn(draw, page, padded=False)


def check_markdown(view: CheckView, page: Page) -> str:
    lines: list[str] = []
    for matrix in matrices(view.cells):
        lines += [f"{markdown(matrix.operation)} on {markdown(view.device)}: {markdown(matrix.measure)}", ""]
        lines += [f"| scores | {' | '.join(map(markdown, matrix.backends))} |", f"|---{'|---' * len(matrix.backends)}|"]
        lines += [f"| {' | '.join(map(markdown, (case, *words)))} |" for case, words in matrix.rows]
        lines.append("")
    lines += [f"- {markdown(backend)}: {markdown(reason)}" for backend, reason in reasons(view.cells)]
    return "\n".join([*lines, "", markdown(totals(view.cells))]) + "\n"


def check_json(view: CheckView, page: Page) -> str:
    document = {
        "device": view.device,
        "checks": [dict(zip(COLUMNS, _row(cell), strict=True)) for cell in view.cells],
        "right": sum(cell.status == "ok" for cell in view.cells),
        "wrong": sum(cell.is_wrong for cell in view.cells),
        "exit_code": view.exit_code,
    }
    return json_text(document, page.ascii_only) + "\n"


def check_csv(view: CheckView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([csv_cell(value) for value in _row(cell)] for cell in view.cells)
    return stream.getvalue()


def _row(cell: Cell) -> tuple[object, ...]:
    """Values of the columns; None where there is none."""
    evidence = cell.checked.evidence
    judged = (None, None, None) if evidence is None else (evidence.error, evidence.limit, evidence.measure)
    names = (cell.workload.operation, cell.workload.key, cell.case or None, cell.candidate.backend, cell.candidate.key)
    return (*names, cell.status, *judged, cell.checked.reason)


def _drawn(matrix: Matrix) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("scores", no_wrap=True)
    for number in range(1, len(matrix.backends) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for case, words in matrix.rows:
        table.add_row(shown(case), *(Text(word, style=_STYLES.get(word, "red")) for word in words))
    return table
