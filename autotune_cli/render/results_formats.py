"""The list of results in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.plain_text import csv_cell, json_text, markdown, shown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.folding import Record, folded
from autotune_cli.render.formats import Page
from autotune_cli.render.text import plural
from autotune_cli.results.overview import Overview

_COLUMNS = ("kind", "name", "measured", "device", "workloads", "gain")
# Below this a table would cut names.
_NARROW = 110


@dataclass(frozen=True)
class ResultsView:
    """What there is in a folder."""

    root: str
    entries: Sequence[Overview]


def results_table(view: ResultsView, page: Page) -> str:
    def draw(console: Console) -> None:
        if not view.entries:
            console.say(f"no results in {view.root}: autotune tune makes one")
            return
        rows = [tuple(map(shown, _row(entry))) for entry in view.entries]
        if console.width < _NARROW:
            console.print(folded([_record(row) for row in rows]))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in _COLUMNS:
            table.add_column(column, overflow="fold")
        for row, entry in zip(rows, view.entries, strict=True):
            table.add_row(*map(Text, row), style="red" if entry.problem else "")
        console.print(table)

    return drawn(draw, page)


def _record(row: tuple[str, ...]) -> Record:
    """Without a head of columns, a number of workloads must say what it is."""
    kind, name, measured, device, workloads, gain = row
    cells = (measured, device, f"workloads: {workloads}" if workloads else "", gain)
    return Record(Text(f"{kind} {name}"), tuple(Text(cell) for cell in cells if cell))


def results_markdown(view: ResultsView, page: Page) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(map(markdown, _row(entry)))} |" for entry in view.entries]
    return "\n".join(lines) + "\n"


def results_json(view: ResultsView, page: Page) -> str:
    means = [geometric_mean(entry.speedups) for entry in view.entries]
    entries = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "path": str(entry.path),
            "created": entry.created or None,
            "device": entry.device or None,
            "workloads": entry.workloads,
            "chosen": entry.chosen,
            "over": entry.over or None,
            "speedup": None if mean is None else mean.value,
            # Over workloads: one says nothing of how others would differ.
            "speedup_interval": None if mean is None or len(entry.speedups) < 2 else [mean.low, mean.high],
            "complete": entry.complete,
            "problem": entry.problem or None,
        }
        for entry, mean in zip(view.entries, means, strict=True)
    ]
    return json_text({"root": view.root, "results": entries}, page.ascii_only) + "\n"


def results_csv(view: ResultsView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([csv_cell(cell) for cell in _row(entry)] for entry in view.entries)
    return stream.getvalue()


def _row(entry: Overview) -> tuple[str, ...]:
    if entry.problem:
        return entry.kind, entry.name, "", "", "", f"can't be read: {entry.problem}"
    workloads = str(entry.workloads)
    if entry.chosen < entry.workloads:
        workloads += f", {entry.chosen} with a winner"
    if not entry.complete:
        workloads += ", not complete"
    mean = geometric_mean(entry.speedups)
    gain = "" if mean is None else f"{mean.value:.2f}x over {entry.over}"
    if mean is not None and len(entry.speedups) < entry.chosen:
        # The others have no baseline.
        gain += f", {plural(len(entry.speedups), 'workload')}"
    return entry.kind, entry.name, entry.created[:16].replace("T", " "), entry.device, workloads, gain
