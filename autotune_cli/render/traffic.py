"""What of a server's traffic each workload stands for, and the gain by how often each occurs (docs/traffic.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.weighted import weighted_gain
from autotune_cli.plain_text import shown
from autotune_cli.render import baselines
from autotune_cli.render.folding import Record, folded
from autotune_cli.render.text import batch_and_context, operation, plural
from autotune_cli.results.schema import StandsFor, Traffic, WorkloadResult

_BEFORE = ("operation", "batch", "context", "mode", "steps", "of all")
_BEHIND = ("batches", "contexts", "new tokens")
# Of the time: what was estimated from bytes and operations, or what the winners take.
_ESTIMATED, _MEASURED = "est. time", "time"
_TEXTS = ("operation", "mode")
# Between columns: two spaces.
_GAP = 2

Part = tuple[AnyWorkload, StandsFor]


def traffic_lines(traffic: Traffic) -> list[str]:
    """What the server did, in a sentence or two; texts of others in it are shown."""
    line = f"traffic: {', '.join(traffic.files)}: "
    if not traffic.requests:
        return [shown(f"{line}{plural(traffic.steps, 'recorded step')}")]
    tokens = f"{traffic.prompt_tokens:,} prompt and {traffic.output_tokens:,} output tokens"
    line += f"{traffic.requests:,} request{'' if traffic.requests == 1 else 's'}, {tokens}, {traffic.steps:,} steps"
    return [shown(line), shown(f"simulated: {traffic.scheduler}")]


@dataclass(frozen=True)
class TrafficTable:
    """Workloads, and what each stands for."""

    parts: Sequence[Part]
    measured: bool = False
    """Is each ``time_share`` what the winners take? Else it is estimated."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*_BEFORE, _MEASURED if self.measured else _ESTIMATED, *_BEHIND)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of ``columns``, a row a workload."""
        return [
            (
                operation(workload),
                *batch_and_context(workload),
                workload.mode,
                f"{part.steps:,}",
                _share(part.step_share),
                _share(part.time_share),
                _range(part.batch),
                _range(part.context),
                _range(part.new),
            )
            for workload, part in self.parts
        ]


def table_of(results: Sequence[WorkloadResult]) -> TrafficTable:
    """Those of the workloads that stand for something; where each has a winner, with the time that the winners take."""
    weighed = [(result, result.stands_for) for result in results if result.stands_for is not None]
    times = [_time(result) for result, _ in weighed]
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return TrafficTable([(result.workload, part) for result, part in weighed])
    whole = sum(known)
    parts = [
        (result.workload, part.model_copy(update={"time_share": time / whole}))
        for (result, part), time in zip(weighed, known, strict=True)
    ]
    return TrafficTable(parts, measured=True)


def _time(result: WorkloadResult) -> float | None:
    """Microseconds that its winner takes in all steps; None: there is no winner."""
    if result.choice is None or result.weight is None:
        return None
    us = result.candidate(result.choice.winner).median_us
    return None if us is None else result.weight * us


def traffic_view(of: TrafficTable, width: int) -> RenderableType:
    """For a terminal of ``width`` columns."""
    rows = of.rows
    widest = [max(map(len, column)) for column in zip(of.columns, *rows, strict=True)]
    if sum(widest) + _GAP * (len(widest) - 1) > width:
        return folded([_record(row, of.measured) for row in rows])
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in of.columns:
        table.add_column(name, justify="left" if name in _TEXTS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def weighted_totals(results: Sequence[WorkloadResult]) -> list[str]:
    """A line a baseline: ``1.124x (1.119 .. 1.129) per weighted step over sglang 0.5.23``; none without weights."""
    found = []
    for name in baselines.names(results):
        gain = weighted_gain(results, name)
        if gain is None:
            continue
        ends = "" if gain.interval is None else f" ({gain.interval[0]:.3f} .. {gain.interval[1]:.3f})"
        part = "" if gain.share > 0.9995 else f", {_share(gain.share)} of the time"
        found.append(f"{gain.value:.3f}x{ends} per weighted step over {baselines.words(results, name)}{part}")
    return found


def weighted_data(device: str, results: Sequence[WorkloadResult]) -> list[dict[str, Any]]:
    """The same for scripts."""
    found = []
    for name in baselines.names(results):
        gain = weighted_gain(results, name)
        if gain is not None:
            found.append({"device": device, "over": name, **vars(gain)})
    return found


def part_data(part: StandsFor | None, weight: float | None) -> dict[str, Any]:
    """What a workload stands for, for scripts; nothing where it has no weight."""
    if weight is None:
        return {}
    return {"weight": weight, "stands_for": None if part is None else part.model_dump()}


def _share(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"


def _record(row: Sequence[str], measured: bool) -> Record:
    name, batch, context, mode, steps, of_all, time, batches, contexts, new = row
    head = f"{name} {batch} x {context} {mode}"
    shares = f"{steps} steps, {of_all} of all, {time} of the time{'' if measured else ' (estimated)'}"
    ranges = f"batches {batches}, contexts {contexts}, new tokens {new}"
    return Record(Text(head), (Text(shares), Text(ranges)))
