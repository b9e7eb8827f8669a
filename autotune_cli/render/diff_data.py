"""A comparison as JSON (documented in docs/diff.md) and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any, Final

from autotune_cli.comparing.outcome import Outcome, counts
from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.plain_text import csv_cell, json_text

DIFF_VERSION: Final = 1

COLUMNS: Final = (
    "workload", "operation", "candidate", "label", "default", "chosen", "verdict", "reasons", "status_a", "status_b",
    "a_us", "b_us", "ratio", "low", "high", "p", "threshold", "rounds_a", "rounds_b", "sessions_a", "sessions_b",
    "detail", "a_rough_us", "b_rough_us", "a_behind", "b_behind",
)  # fmt: skip


def as_json(report: Report, result: Outcome, ascii_only: bool = False) -> str:
    """The whole report, one line's end after it. Text beyond ASCII stays unless told; there is never a NaN in it."""
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
        "ground": [dataclasses.asdict(item) for item in report.ground],
        "notes": report.notes,
        "counts": counts(report) | {"verdicts": _verdicts(report), "workloads": report.comparable},
        "means": [dataclasses.asdict(mean) for mean in report.means],
        "choices": [_flat(dataclasses.asdict(choice)) for choice in report.choices],
        "candidates": [_flat(dataclasses.asdict(comparison)) for comparison in report.comparisons],
        "only_a": report.only_a,
        "only_b": report.only_b,
    }
    return json_text(document, ascii_only) + "\n"


def as_csv(report: Report) -> str:
    """One row a candidate (of FlashInfer caches: a choice), the most important first.

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


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A decision's fields beside the others."""
    return {**record, **record.pop("decision")}


def _verdicts(report: Report) -> dict[str, int]:
    found: dict[str, int] = {}
    for comparison in report.comparisons:
        found[comparison.verdict] = found.get(comparison.verdict, 0) + 1
    return found


def _csv_row(comparison: Comparison) -> tuple[object, ...]:
    decision = comparison.decision
    low, high = decision.interval or ("", "")
    return (
        comparison.workload, comparison.operation, comparison.candidate, comparison.label, int(comparison.default),
        comparison.chosen, decision.verdict, " ".join(decision.reasons), comparison.status_a, comparison.status_b,
        comparison.a_us, comparison.b_us, decision.ratio, low, high, decision.p, decision.threshold,
        *comparison.rounds, *comparison.sessions, comparison.detail,
        comparison.a_rough_us, comparison.b_rough_us, comparison.a_behind, comparison.b_behind,
    )  # fmt: skip
