"""A comparison as JSON (documented in docs/diff.md) and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any, Final

from autotune_cli.comparing.choices import ChoiceDecision
from autotune_cli.comparing.decisions import Decision
from autotune_cli.comparing.exit_status import ExitStatus
from autotune_cli.comparing.records import ChoiceComparison, Comparison, Report
from autotune_cli.plain_text import csv_cell, json_text
from autotune_cli.render.diff_model import DiffModel

DIFF_VERSION: Final = 1

COLUMNS: Final = (
    "workload", "operation", "candidate", "label", "default", "chosen", "verdict", "reasons", "status_a", "status_b",
    "a_us", "b_us", "ratio", "low", "high", "p", "threshold", "rounds_a", "rounds_b", "sessions_a", "sessions_b",
    "detail", "a_rough_us", "b_rough_us", "a_behind", "b_behind",
)  # fmt: skip
# Keys of the format that are not the names of the program's fields.
_KEYS = {"workload_label": "place"}


def as_json(report: Report, result: ExitStatus, ascii_only: bool = False) -> str:
    """The whole report, one line's end after it. Text beyond ASCII stays unless told; there is never a NaN in it."""
    model = DiffModel(report, result)
    document = {
        "diff_version": DIFF_VERSION,
        "exit_code": result.exit_code,
        "exit_words": result.words,
        "failed": list(result.failed),
        "kind": report.kind,
        "refusal": report.refusal,
        "a": dataclasses.asdict(report.a),
        "b": dataclasses.asdict(report.b),
        "sessions": report.sessions,
        "rule": dataclasses.asdict(report.rule),
        "ground": [dataclasses.asdict(item) for item in report.environment],
        "notes": report.notes,
        "counts": model.counts,
        "means": [dataclasses.asdict(mean) for mean in report.means],
        "choices": list(map(_record, report.choices)),
        "candidates": list(map(_record, report.comparisons)),
        "only_a": report.only_a,
        "only_b": report.only_b,
    }
    return json_text(document, ascii_only) + "\n"


def as_csv(report: Report) -> str:
    """One row a candidate (of files without times: a choice), the most important first.

    A text that a spreadsheet would compute has a ``'`` before it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if report.comparisons or not report.choices:
        writer.writerow(COLUMNS)
        writer.writerows(map(csv_cell, _csv_row(comparison)) for comparison in report.comparisons)
    else:
        writer.writerow(("key", "verdict", "a", "b"))
        for choice in report.choices:
            cells = (choice.workload, choice.decision.verdict, choice.label_a, choice.label_b)
            writer.writerow(map(csv_cell, cells))
        for name, keys in (("A", report.only_a), ("B", report.only_b)):
            writer.writerows((csv_cell(key), f"only in {name}", "", "") for key in keys)
    return stream.getvalue()


def _record(compared: Comparison | ChoiceComparison) -> dict[str, Any]:
    """The fields, and those of the decision beside the others too."""
    decision = _fields(compared.decision)
    record = {_KEYS.get(name, name): value for name, value in _fields(compared).items()}
    return {**record, "decision": decision, **decision}


def _fields(record: Comparison | ChoiceComparison | Decision | ChoiceDecision) -> dict[str, Any]:
    """As ``dataclasses.asdict``, without copies of what can't be changed: there are thousands of rows."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _csv_row(comparison: Comparison) -> list[object]:
    low, high = comparison.decision.interval or ("", "")
    rounds, sessions = comparison.rounds, comparison.sessions
    cells = _record(comparison) | {
        "default": int(comparison.default),
        "reasons": " ".join(comparison.decision.reasons),
        "low": low,
        "high": high,
        "rounds_a": rounds[0],
        "rounds_b": rounds[1],
        "sessions_a": sessions[0],
        "sessions_b": sessions[1],
    }
    return [cells[column] for column in COLUMNS]
