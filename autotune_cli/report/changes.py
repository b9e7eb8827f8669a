"""What changed between two files, from the comparison that ``autotune diff`` prints too."""

from __future__ import annotations

import math

from autotune_cli.comparing.exit_status import exit_status
from autotune_cli.comparing.records import Report
from autotune_cli.plain_text import shown
from autotune_cli.render.diff_model import DiffModel
from autotune_cli.render.plain_records import shown_record
from autotune_cli.report.model import ChangeRow, Changes, Ratio


def changes_of(compared: Report) -> Changes:
    """All rows, each candidate on one of its own, and the ratios that have an interval."""
    report = shown_record(compared)
    model = DiffModel(report, exit_status(report, ()), every=True)
    operations = {each.workload_label: each.operation for each in report.comparisons}
    operations |= {each.workload_label: each.operation for each in report.choices}
    return Changes(
        sides=tuple(map(shown, model.sides)),
        environment=tuple(shown(sentence.text) for sentence in model.environment),
        basis=model.basis,
        notes=tuple(map(shown, report.notes)),
        refusal=None if report.refusal is None else shown(report.refusal),
        rows=tuple(
            ChangeRow(
                word=row.word,
                tone=row.tone,
                workload=row.workload,
                what=row.what,
                times=row.times,
                change=row.change,
                note=row.note,
                operation=operations.get(row.workload, ""),
            )
            for row in (model.rows if report.refusal is None else ())
        ),
        only=tuple(shown(f"only in {name}: {', '.join(keys)}") for name, keys in model.only),
        totals=tuple(filter(None, (model.totals, model.choice_totals))) if report.refusal is None else (),
        means=tuple(f"{mean.operation}: {mean.value}, {mean.of}" for mean in model.means),
        ratios=tuple(
            Ratio(
                workload=each.workload_label,
                operation=each.operation,
                label=each.label,
                verdict=str(each.verdict),
                tone=each.verdict.row.tone,
                value=each.decision.ratio,
                interval=each.decision.interval,
            )
            for each in model.timed
            if each.decision.ratio is not None
            and each.decision.interval is not None
            and all(map(math.isfinite, each.decision.interval))
        ),
        coverage=report.rule.coverage,
    )
