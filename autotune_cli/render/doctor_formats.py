"""An examination in each format. The table is plain text of 80 columns, to be pasted into a report of a fault."""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from dataclasses import dataclass

from rich.text import Text

from autotune_cli.doctor.findings import Diagnosis, Finding, State
from autotune_cli.plain_text import csv_cell, json_text, markdown, shown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.formats import Page
from autotune_cli.render.text import plural

_WIDTH = 80
_NAMES = 14
_MARKS = {State.OK: "ok", State.NOTE: "--", State.WARNING: "? ", State.PROBLEM: "!!"}
_STYLES = {State.OK: "", State.NOTE: "dim", State.WARNING: "yellow", State.PROBLEM: "bold red"}


@dataclass(frozen=True)
class DoctorView:
    """What was found."""

    diagnosis: Diagnosis


def doctor_table(view: DoctorView, page: Page) -> str:
    diagnosis = view.diagnosis

    def draw(console: Console) -> None:
        for group, findings in itertools.groupby(diagnosis.findings, lambda finding: finding.group):
            console.print(Text(group))
            for finding in findings:
                for line in _lines(finding):
                    # Commands stay whole, to be copied.
                    console.print(Text(line, style=_STYLES[finding.state]), soft_wrap=True)
        console.print(Text(verdict(diagnosis)))

    return drawn(draw, page, padded=False)


def verdict(diagnosis: Diagnosis) -> str:
    """``1 problem, 2 warnings: exit 1``."""
    counts = diagnosis.counts
    said = [plural(counts[state], str(state)) for state in (State.PROBLEM, State.WARNING) if counts[state]]
    return f"{', '.join(said) or 'nothing to mend'}: exit {diagnosis.exit_code}"


def _lines(finding: Finding) -> list[str]:
    name = shown(finding.name)
    head = f"  {_MARKS[finding.state]} {name:<{_NAMES}} "
    indent = " " * (3 + 2 + _NAMES + 1)
    words = textwrap.wrap(
        shown(finding.text), _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
    ) or [""]
    if len(name) > _NAMES:
        lines = [head.rstrip(), *(indent + line for line in words)]
    else:
        lines = [head + words[0], *(indent + line for line in words[1:])]
    if finding.fix:
        lines.append(f"{indent}-> {shown(finding.fix)}")
    return [line.rstrip() for line in lines]


def doctor_markdown(view: DoctorView, page: Page) -> str:
    diagnosis = view.diagnosis
    lines = [f"### autotune doctor: {verdict(diagnosis)}", "", "| | | | what mends it |", "|---|---|---|---|"]
    for finding in diagnosis.findings:
        cells = (f"{finding.group} {finding.name}", str(finding.state), finding.text, finding.fix)
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
    return "\n".join(lines) + "\n"


def doctor_csv(view: DoctorView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("group", "name", "state", "text", "fix"))
    for finding in view.diagnosis.findings:
        cells = (finding.group, finding.name, str(finding.state), finding.text, finding.fix)
        writer.writerow([csv_cell(cell) for cell in cells])
    return stream.getvalue()


def doctor_json(view: DoctorView, page: Page) -> str:
    diagnosis = view.diagnosis
    document = {
        "doctor_version": 1,
        "exit_code": diagnosis.exit_code,
        "counts": {str(state): count for state, count in diagnosis.counts.items()},
        "findings": [
            {
                "group": finding.group,
                "name": finding.name,
                "state": str(finding.state),
                "text": finding.text,
                "fix": finding.fix or None,
            }
            for finding in diagnosis.findings
        ],
    }
    return json_text(document, page.ascii_only) + "\n"
