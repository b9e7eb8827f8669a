"""The workloads that would be tuned, in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.plain_text import csv_cell, json_text, markdown, shown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.formats import Page
from autotune_cli.render.text import batch_and_context, operation, plural
from autotune_cli.render.traffic import TrafficTable, traffic_lines, traffic_view
from autotune_cli.results.schema import StandsFor, Traffic

_COLUMNS = ("operation", "batch", "context", "mode")


@dataclass(frozen=True)
class SuiteView:
    """A suite, before anything is measured."""

    name: str
    device_kind: str
    workloads: Sequence[AnyWorkload]
    traffic: Traffic | None = None
    """What it was made from; None: a grid."""
    stands_for: Mapping[str, StandsFor] = field(default_factory=dict)
    """By key of the workload."""
    spread: float | None = None
    """Of the steps from what stands for them, in octaves."""

    @property
    def columns(self) -> tuple[str, ...]:
        return _COLUMNS if self.traffic is None else self.table.columns

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of ``columns``."""
        if self.traffic is not None:
            return self.table.rows
        return [(operation(each), *batch_and_context(each), each.mode) for each in self.workloads]

    @property
    def table(self) -> TrafficTable:
        """What the workloads stand for."""
        return TrafficTable([(each, self.stands_for[each.key]) for each in self.workloads])

    @property
    def lines(self) -> list[str]:
        """Sentences above the rows."""
        title = f"{shown(self.name)} on a {'GPU' if self.device_kind == 'cuda' else 'CPU'}: nothing is measured"
        return [title, *([] if self.traffic is None else traffic_lines(self.traffic))]

    @property
    def total(self) -> str:
        """A sentence below the rows."""
        count = plural(len(self.workloads), "workload")
        if self.traffic is None or self.spread is None:
            return count
        steps = f"{self.traffic.steps:,} step{'' if self.traffic.steps == 1 else 's'}"
        off = 100.0 * (2.0**self.spread - 1.0)
        return f"{count} for {steps}; a step's sizes are {off:.0f} % off those of what stands for it (by time)"


def suite_table(view: SuiteView, page: Page) -> str:
    def draw(console: Console) -> None:
        for line in view.lines:
            console.say(line, style="dim")
        console.print()
        console.print(_table(view) if view.traffic is None else traffic_view(view.table, console.width))
        console.say(view.total)

    return drawn(draw, page)


def suite_markdown(view: SuiteView, page: Page) -> str:
    lines = [*(f"- {markdown(line, begins=True)}" for line in view.lines), ""]
    lines += [f"| {' | '.join(view.columns)} |", f"|{'---|' * len(view.columns)}"]
    lines += [f"| {' | '.join(map(markdown, row))} |" for row in view.rows]
    return "\n".join([*lines, "", f"- {view.total}"]) + "\n"


def suite_json(view: SuiteView, page: Page) -> str:
    document: dict[str, Any] = {
        "name": view.name,
        "traffic": None if view.traffic is None else view.traffic.model_dump(),
        "spread": view.spread,
        "workloads": [_workload(each, view.stands_for.get(each.key)) for each in view.workloads],
    }
    return json_text(document, page.ascii_only) + "\n"


def suite_csv(view: SuiteView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("workload", *view.columns))
    for workload, row in zip(view.workloads, view.rows, strict=True):
        writer.writerow([csv_cell(cell) for cell in (workload.key, *row)])
    return stream.getvalue()


def _workload(workload: AnyWorkload, part: StandsFor | None) -> dict[str, Any]:
    weight = None if part is None else part.steps * part.layers
    stands_for = None if part is None else part.model_dump()
    return {"workload": workload.key, **workload.sizes, "weight": weight, "stands_for": stands_for}


def _table(view: SuiteView) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in view.columns:
        table.add_column(name, justify="left" if name in ("operation", "mode") else "right", overflow="fold")
    for row in view.rows:
        table.add_row(*map(Text, row))
    return table
