"""A plan in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from autotune_cli.measure.statistics import Ratio
from autotune_cli.plain_text import csv_cell, json_text, markdown, markdown_block
from autotune_cli.planning.records import Plan, Row
from autotune_cli.planning.times import Time
from autotune_cli.render import plan_words as words
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.folding import Record, folded
from autotune_cli.render.formats import Page
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import rough, with_interval

COLUMNS = ("operation", "shape", "share", "the server runs", "time us", "gain", "best of all", "loss")
_RIGHT = ("share", "time us", "gain", "loss")
# Below this a table would cut names.
_NARROW = 150
_SENTENCE = 600
_CELL = 200


@dataclass(frozen=True)
class PlanView:
    """A plan, and how much of it is shown."""

    plan: Plan
    every: bool = False
    """Each batch shape's step, and what can't be planned with."""


def plan_table(view: PlanView, page: Page) -> str:
    plan: Plan = shown_record(view.plan)

    def draw(console: Console) -> None:
        for line in words.heading(plan):
            console.say(line, style="dim")
        console.print()
        for line in words.told(plan):
            console.say(f"  {line}", style="bold")
        console.print()
        _print_rows(console, plan.rows)
        console.print()
        for line in (*words.outcome(plan), *words.step_lines(plan, view.every)):
            console.say(line)
        for line in (*words.untold(plan), *words.doubts(plan), *(words.rejected(plan) if view.every else ())):
            console.say(line, style="dim")

    return drawn(draw, page, padded=False)


def plan_markdown(view: PlanView, page: Page) -> str:
    plan = view.plan
    lines = [f"### autotune plan: {markdown(plan.name, _CELL)}", ""]
    lines += [f"- {markdown(line, _SENTENCE, begins=True)}" for line in words.heading(plan)]
    lines += ["", *markdown_block([setting.typed for setting in plan.settings] or ["# nothing"], "sh"), ""]
    lines += [f"- {markdown(line, _SENTENCE, begins=True)}" for line in (*words.told(plan), *words.outcome(plan))]
    lines += ["", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(markdown(cell, _CELL) for cell in cells(row))} |" for row in plan.rows]
    below = [*words.step_lines(plan, view.every), *words.untold(plan), *words.doubts(plan)]
    below += words.rejected(plan) if view.every else []
    lines += ["", *(f"- {markdown(line, _SENTENCE, begins=True)}" for line in below)]
    return "\n".join(lines) + "\n"


def plan_json(view: PlanView, page: Page) -> str:
    return json_text(document(view.plan), page.ascii_only) + "\n"


def plan_csv(view: PlanView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [record(row) for row in view.plan.rows]
    writer.writerow(RECORD_COLUMNS)
    writer.writerows([csv_cell(row[name]) for name in RECORD_COLUMNS] for row in rows)
    return stream.getvalue()


def cells(row: Row) -> tuple[str, ...]:
    """One workload of the table."""
    workload = row.result.workload
    return (
        workload.title,
        workload.full_shape,
        f"{100.0 * row.share:.1f} %",
        row.runs.label,
        _us(row.runs.time),
        _gain(row),
        "the same" if row.best.key == row.runs.key else row.best.label,
        _loss(row.loss, row.best.key == row.runs.key),
    )


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    table_rows = [cells(row) for row in rows]
    if console.width < _NARROW:
        console.print(folded([_record(each) for each in table_rows]))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in _RIGHT else "left", overflow="fold")
    for row, each in zip(rows, table_rows, strict=True):
        table.add_row(*map(Text, each), style=_style(row))
    console.print(table)


def _record(row: Sequence[str]) -> Record:
    operation, shape, share, runs, time, gain, best, loss = row
    below = Text(f"{time} us, {share} of the step, gain {gain}")
    return Record(Text(f"{operation} {shape}"), (Text(runs), below, Text(f"best of all: {best}; loss {loss}")))


def _style(row: Row) -> str:
    if row.gain is not None and row.gain.high < 1.0:
        return "red"
    return "green" if row.gain is not None and row.gain.low > 1.0 else ""


def _us(time: Time) -> str:
    return rough(time.us) if time.rough else with_interval(time.us, (time.us - time.half, time.us + time.half))


def _gain(row: Row) -> str:
    if row.gain is None or row.untuned is None:
        # In a word; JSON and CSV have the sentence.
        return "wrong" if row.untuned_missing.startswith("incorrect") else "missing"
    if row.untuned.key == row.runs.key:
        return "1.00"
    return f"{row.gain.value:.3f} ± {row.gain.high - row.gain.value:.3f}".replace("± 0.", "± .")


def _loss(value: Ratio, same: bool) -> str:
    return "-" if same else f"{100.0 * (value.value - 1.0):.1f} ± {100.0 * (value.high - value.value):.1f} %"


RECORD_COLUMNS = (
    "workload", "operation", "shape", "mode", "weight", "share", "candidate", "us", "us_low", "us_high", "rough",
    "untuned", "untuned_us", "untuned_missing", "gain", "gain_low", "gain_high", "best", "best_us", "loss", "loss_low",
    "loss_high", "reachable", "reachable_by", "compromise", "untold", "untold_reason", "stand_in",
)  # fmt: skip


def record(row: Row) -> dict[str, Any]:
    """A workload of the plan as one flat row; times are microseconds, losses and gains ratios."""
    workload, time = row.result.workload, row.runs.time
    return {
        "workload": row.result.key,
        "operation": workload.operation,
        "shape": workload.shape,
        "mode": workload.mode,
        "weight": row.weight,
        "share": row.share,
        "candidate": row.runs.key,
        "us": time.us,
        "us_low": time.us - time.half,
        "us_high": time.us + time.half,
        "rough": time.rough,
        "untuned": None if row.untuned is None else row.untuned.key,
        "untuned_us": None if row.untuned is None else row.untuned.time.us,
        "untuned_missing": row.untuned_missing or None,
        "gain": None if row.gain is None else row.gain.value,
        "gain_low": None if row.gain is None else row.gain.low,
        "gain_high": None if row.gain is None else row.gain.high,
        "best": row.best.key,
        "best_us": row.best.time.us,
        "loss": row.loss.value,
        "loss_low": row.loss.low,
        "loss_high": row.loss.high,
        "reachable": row.reachable.key,
        "reachable_by": row.reachable_by or None,
        "compromise": row.compromise.value,
        "untold": row.untold.value,
        "untold_reason": row.untold_reason or None,
        "stand_in": row.runs.stand_in or None,
    }


def document(plan: Plan) -> dict[str, Any]:
    """The whole plan for scripts."""
    return {
        "name": plan.name,
        "device": plan.device,
        "engine": plan.engine,
        "version": plan.version,
        "version_from": plan.version_from,
        "read_in": plan.read_in,
        "model": plan.model or None,
        "tp": plan.tp,
        "baseline": plan.baseline.name,
        "settings": [
            {
                "name": setting.name,
                "value": setting.value,
                "typed": setting.typed,
                "variable": setting.variable,
                "gain": _ratio(setting.gain),
                "gain_missing": setting.without or None,
                "costs": [{"workload": cost.workload, "ratio": _ratio(cost.ratio)} for cost in setting.costs],
            }
            for setting in plan.settings
        ],
        "pins": dict(plan.pins),
        "weights": plan.weights,
        "untuned": {"name": plan.untuned, "version": plan.untuned_version},
        "step_us": {"value": plan.step.us, "half": plan.step.half},
        "gain": _ratio(plan.gain),
        "gain_geometric_mean": _ratio(plan.gain_mean),
        "compared": plan.compared,
        "loss": _ratio(plan.loss),
        "compromise": _ratio(plan.compromise),
        "untold": _ratio(plan.untold),
        "considered": plan.considered,
        "tied": plan.tied,
        "steps": [
            {
                "step": change.step,
                "shape": change.shape or None,
                "layers": change.layers,
                "attention_ms": change.attention_ms,
                "change_ms": change.change_ms,
                "half_ms": change.half_ms,
                "step_ms": change.step_ms,
                "share": change.share,
            }
            for change in plan.changes
        ],
        "workloads": [record(row) for row in plan.rows],
        "left_out": [{"workload": key, "reason": reason} for key, reason in plan.left_out],
        "rejected": [{"value": value, "reason": reason} for value, reason in plan.rejected],
        "notes": list(plan.notes),
        "measure": words.measure_command(plan),
    }


def _ratio(value: Ratio | None) -> dict[str, float] | None:
    return None if value is None else {"value": value.value, "low": value.low, "high": value.high}
