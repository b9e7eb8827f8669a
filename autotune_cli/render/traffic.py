"""What of a server's traffic each workload stands for, and the gain by how often each occurs (docs/traffic.md)."""

from __future__ import annotations

from collections.abc import Sequence
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

TRAFFIC_COLUMNS = (
    "operation", "batch", "context", "mode", "steps", "of all", "est. time", "batches", "contexts", "new tokens",
)  # fmt: skip
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


def parts_of(results: Sequence[WorkloadResult]) -> list[Part]:
    """The workloads that stand for something."""
    return [(result.workload, result.stands_for) for result in results if result.stands_for is not None]


def traffic_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """The cells of ``TRAFFIC_COLUMNS``, a row a workload."""
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
        for workload, part in parts
    ]


def traffic_view(parts: Sequence[Part], width: int) -> RenderableType:
    """For a terminal of ``width`` columns."""
    rows = traffic_rows(parts)
    widest = [max(map(len, column)) for column in zip(TRAFFIC_COLUMNS, *rows, strict=True)]
    if sum(widest) + _GAP * (len(widest) - 1) > width:
        return folded([_record(row) for row in rows])
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in TRAFFIC_COLUMNS:
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


def _record(row: Sequence[str]) -> Record:
    cells = dict(zip(TRAFFIC_COLUMNS, row, strict=True))
    head = f"{cells['operation']} {cells['batch']} x {cells['context']} {cells['mode']}"
    shares = f"{cells['steps']} steps, {cells['of all']} of all, {cells['est. time']} of the time (estimated)"
    ranges = f"batches {cells['batches']}, contexts {cells['contexts']}, new tokens {cells['new tokens']}"
    return Record(Text(head), (Text(shares), Text(ranges)))
