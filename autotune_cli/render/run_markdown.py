"""A run as GitHub markdown: a table a device, one row a workload."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.plain_text import markdown
from autotune_cli.render import baselines
from autotune_cli.render.constraints import constraint_lines
from autotune_cli.render.devices import by_device, how_measured
from autotune_cli.render.lengths import LENGTH_COLUMNS, frozen_lines, length_rows
from autotune_cli.render.run_header import header
from autotune_cli.render.run_rows import CANDIDATE_COLUMNS, WORKLOAD_COLUMNS, candidate_cells, workload_row
from autotune_cli.render.run_totals import flashinfer_line, totals
from autotune_cli.render.run_warnings import warnings_of
from autotune_cli.render.traffic import table_of, traffic_lines
from autotune_cli.results.schema import CandidateResult, RunFile, WorkloadResult

# No cell is longer: names and reasons are the user's, and could be of any length.
_CELL = 200
_SENTENCE = 400


def run_markdown(run: RunFile, every: bool = False, baseline: str | None = None) -> str:
    """The tables, what was wrong, and the mean speed-ups.

    Args:
        every: each workload's candidates too.
        baseline: name of the one in the table; None: each workload's default.
    """
    lines: list[str] = [f"### autotune: {_safe(run.name)}"]
    for environment, results in by_device(run):
        lines.append("")
        lines += [f"- {_safe(line, _SENTENCE)}" for line in header(*how_measured(run, environment, results))]
        lines += [f"- {_safe(line, _SENTENCE)}" for line in baselines.lines(results, baseline)]
        lines += ["", *_table(WORKLOAD_COLUMNS, [_workload(result, baseline) for result in results])]
        for result in results:
            lengths = length_rows(result)
            if lengths:
                lines += ["", f"#### {_safe(result.key)}: at each length", "", *_table(LENGTH_COLUMNS, lengths), ""]
                lines += [f"- {_safe(line, _SENTENCE)}" for line in frozen_lines(result)]
        traffic = table_of(results)
        if run.traffic is not None and traffic.parts:
            lines += ["", *(f"- {_safe(line, _SENTENCE)}" for line in traffic_lines(run.traffic))]
            lines += ["", *_table(traffic.columns, traffic.rows)]
        lines += ["", *(f"- **{_safe(line, _SENTENCE)}**" for line in warnings_of(results))]
        lines += [f"- {_safe(line, _SENTENCE)}" for line in constraint_lines(results)]
        lines += [f"- {_safe(line, _SENTENCE)}" for line in totals(results)]
        for result in results if every else ():
            rows = [candidate_cells(candidate, result) for candidate in sorted(result.candidates, key=_by_time)]
            lines += ["", f"#### {_safe(result.key)}", "", *_table(CANDIDATE_COLUMNS, rows)]
    if (line := flashinfer_line(run.flashinfer)) is not None:
        lines.append(f"- {_safe(line, _SENTENCE)}")
    return "\n".join([*lines, ""])


def _workload(result: WorkloadResult, baseline: str | None) -> tuple[str, ...]:
    row = workload_row(result, baseline)
    winner = "none" if row.winner is None else f"{row.winner} (default)" if row.winner_is_default else row.winner
    shape = (row.operation, row.batch, row.context, row.mode)
    return *shape, winner, row.time, row.baseline, row.gain, row.floor, row.ties


def _by_time(candidate: CandidateResult) -> tuple[bool, float]:
    time = candidate.median_us or candidate.rough_us
    return time is None, time or 0.0


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(markdown(cell, _CELL) for cell in row)} |" for row in rows]


def _safe(text: str, most: int = _CELL) -> str:
    return markdown(text, most, begins=True)
