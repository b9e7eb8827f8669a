"""A run as GitHub markdown: a table a device, one row a workload."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.measure.conditions import clock_mhz
from autotune_cli.plain_text import markdown
from autotune_cli.render import baselines
from autotune_cli.render.devices import by_device, how_measured
from autotune_cli.render.run_data import role
from autotune_cli.render.summary import totals
from autotune_cli.render.text import (
    batch_and_context,
    header,
    microseconds,
    operation,
    percent,
    share_of_floor,
    speedup,
    warnings_of,
    with_interval,
)
from autotune_cli.results.schema import CandidateResult, RunFile, WorkloadResult

# No cell is longer: names and reasons are the user's, and could be of any length.
_CELL = 200
_SENTENCE = 400
_WORKLOADS = ("operation", "batch", "context", "mode", "winner", "time us", "baseline us", "speed-up", "floor", "ties")
_CANDIDATES = ("candidate", "status", "time us", "rounds", "")


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
        lines += ["", *_table(_WORKLOADS, [_workload(result, baseline) for result in results])]
        lines += ["", *(f"- **{_safe(line, _SENTENCE)}**" for line in warnings_of(results))]
        lines += [f"- {_safe(line, _SENTENCE)}" for line in totals(results)]
        for result in results if every else ():
            rows = [_candidate(candidate, result) for candidate in sorted(result.candidates, key=_by_time)]
            lines += ["", f"#### {_safe(result.key)}", "", *_table(_CANDIDATES, rows)]
    return "\n".join([*lines, ""])


def _workload(result: WorkloadResult, baseline: str | None) -> tuple[str, ...]:
    held, choice = result.baseline(baseline), result.choice
    front = (operation(result.workload), *batch_and_context(result.workload), result.workload.mode)
    over = baselines.cell(result, baseline)
    if choice is None:
        return (*front, "none", "-", over, "-", "-", "-")
    winner = result.candidate(choice.winner)
    gain = speedup(held.speedup, held.speedup_interval) if held else "-"
    time = with_interval(winner.median_us, winner.interval_us)
    ties = str(len(choice.tie_set)) if len(choice.tie_set) > 1 else "-"
    name = f"{winner.label} (default)" if winner.default else winner.label
    return (*front, name, time, over, gain, percent(share_of_floor(result)), ties)


def _candidate(candidate: CandidateResult, result: WorkloadResult) -> tuple[str, ...]:
    marks = [role(result, candidate)]
    clock = clock_mhz(candidate, result.conditions) if marks[0] == "winner" else None
    marks += [f"SM clock {clock:.0f} MHz"] if clock is not None else []
    marks += [held.name for held in result.baselines if held.candidate == candidate.key]
    marks += [candidate.reason or "", f"get it: {candidate.fix}" if candidate.fix else ""]
    time = with_interval(candidate.median_us, candidate.interval_us)
    if candidate.median_us is None and candidate.rough_us is not None:
        time = f"~{microseconds(candidate.rough_us)}"
    rounds = str(len(candidate.rounds)) if candidate.rounds else ""
    return candidate.label, candidate.status.replace("_", " "), time, rounds, "; ".join(filter(None, marks))


def _by_time(candidate: CandidateResult) -> tuple[bool, float]:
    time = candidate.median_us or candidate.rough_us
    return time is None, time or 0.0


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(markdown(cell, _CELL) for cell in row)} |" for row in rows]


def _safe(text: str, most: int = _CELL) -> str:
    return markdown(text, most, begins=True)
