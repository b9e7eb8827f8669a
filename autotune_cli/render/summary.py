"""The table of a run, one row a workload, and the table of one workload's candidates."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.measure.conditions import clock_mhz
from autotune_cli.render import baselines
from autotune_cli.render.devices import by_device, how_measured
from autotune_cli.render.folding import Record, folded
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import (
    counts,
    header,
    microseconds,
    warnings_of,
    with_interval,
)
from autotune_cli.render.workloads import workloads_view
from autotune_cli.results.schema import MEASURED, CandidateResult, RunFile, WorkloadResult

# A reason is folded into a column no narrower than this; four gaps of two spaces, and the header of the rounds.
_NOTE = 48
_COLUMNS_GAP = 14
_STYLES = {
    "ok": "",
    "eliminated": "dim",
    "duplicate": "dim",
    "skipped": "yellow",
    "unsupported": "dim",
    "unavailable": "yellow",
    "incorrect": "bold red",
    "error": "red",
    "timeout": "red",
    "crashed": "red",
    "out_of_memory": "red",
}


def print_run(console: Console, run: RunFile, every_candidate: bool = False, baseline: str | None = None) -> None:
    """The whole result, device by device: header, a row a workload, what was wrong, counts and the mean speed-ups.

    ``baseline``: name of the one in the table; None: each workload's default.
    """
    run = shown_record(run)
    for number, (environment, results) in enumerate(by_device(run)):
        if number:
            console.print()
        for line in (*header(*how_measured(run, environment, results)), *baselines.lines(results, baseline)):
            console.print(line, style="dim", highlight=False, markup=False)
        console.print()
        if every_candidate:
            for result in results:
                console.print(candidates_view(result, console.width))
                console.print()
        console.print(workloads_view(results, baseline, console.width))
        print_warnings(console, results)
        for line in totals(results):
            console.print(line, highlight=False, markup=False)


def print_warnings(console: Console, results: Sequence[WorkloadResult]) -> None:
    """In red: what was fast but wrong, and what can't be true."""
    for line in warnings_of(results):
        console.print(Text(f"  ! {line}", style="red"))


def candidates_view(result: WorkloadResult, width: int) -> RenderableType:
    """The candidates of one workload: a table, or where that would break names and reasons to pieces, each candidate's
    name and below it the rest.
    """
    rows = [(candidate, candidate_row(candidate, result)) for candidate in sorted(result.candidates, key=_by_time)]
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for _, row in rows]
    widest = [max((row[column].cell_len for row in cells), default=0) for column in range(5)]
    if sum(widest[:4]) + min(widest[4], _NOTE) + _COLUMNS_GAP <= width:
        return candidate_table(result)
    records: list[Record] = []
    for (candidate, _), (name, status, time, rounds, note) in zip(rows, cells, strict=True):
        facts = [status.plain]
        facts += [f"{time.plain} us"] if time.plain != "-" else []
        facts += [f"{rounds.plain} rounds"] if rounds.plain else []
        told = f": {note.plain}" if note.plain else ""
        records.append(Record(name, (Text(", ".join(facts) + told),), _STYLES[candidate.status]))
    return folded(records, Text(result.key, style="bold"))


def candidate_table(result: WorkloadResult, rows: int | None = None) -> Table:
    """The candidates of one workload, the fastest first; at most ``rows`` of them."""
    table = Table(
        title=result.key, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    table.add_column("candidate", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("time us", justify="right", no_wrap=True)
    table.add_column("rounds", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    ordered = sorted(result.candidates, key=_by_time)
    for candidate in ordered[:rows]:
        table.add_row(*candidate_row(candidate, result), style=_STYLES[candidate.status])
    if rows is not None and len(ordered) > rows:
        table.add_row(f"... {len(ordered) - rows} more", style="dim")
    return table


def candidate_row(candidate: CandidateResult, result: WorkloadResult) -> list[RenderableType]:
    choice = result.choice
    marks = []
    if choice is not None and candidate.key == choice.winner:
        marks.append("winner")
        clock = clock_mhz(candidate, result.conditions)
        if clock is not None:
            marks.append(f"SM clock {clock:.0f} MHz")
    elif choice is not None and candidate.key in choice.tie_set:
        marks.append("tie")
    marks += [held.name for held in result.baselines if held.candidate == candidate.key]
    if candidate.reason:
        marks.append(candidate.reason)
    if candidate.fix:
        marks.append(f"get it: {candidate.fix}")
    time = with_interval(candidate.median_us, candidate.interval_us)
    if candidate.median_us is None and candidate.rough_us is not None:
        time = f"~{microseconds(candidate.rough_us)}"
    rounds = str(len(candidate.rounds)) if candidate.rounds else ""
    # Text: names and reasons may hold square brackets, which rich would take for markup.
    return [Text(candidate.label), candidate.status.replace("_", " "), time, rounds, Text("; ".join(marks))]


def _by_time(candidate: CandidateResult) -> tuple[int, float, str]:
    group = 0 if candidate.status in MEASURED else 1 if candidate.rough_us else 2
    return group, candidate.median_us or candidate.rough_us or 0.0, candidate.key


def totals(results: Sequence[WorkloadResult]) -> list[str]:
    """The lines below the table: counts, then the mean speed-up over each baseline."""
    line = counts(results)
    reused = sum(result.reused for result in results)
    if reused:
        line += f" | {reused} from the cache"
    return [line, *baselines.totals(results)]
