"""Options of ``autotune tune`` for the user's own traffic, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.kinds import Count, Counts, Real

_PANEL = "Your server's traffic"

Logs = Annotated[
    list[Path] | None,
    typer.Option(
        help="Tune what a server runs: a log of requests (JSON lines, CSV of lengths and times, a benchmark's result), "
        "FlashInfer workloads or a profiler trace; may be repeated, a server each.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
Workloads = Annotated[
    int,
    typer.Option(
        help="Workloads that stand for the traffic, at most.", metavar="N", rich_help_panel=_PANEL, show_default=True
    ),
    Count(),
]
MaxRunning = Annotated[
    int | None,
    typer.Option(
        help="Requests that the server runs at a time. Default: the engine's.", metavar="N", rich_help_panel=_PANEL
    ),
    Count(),
]
ChunkedPrefill = Annotated[
    int | None,
    typer.Option(
        help="New tokens of a step, at most. Default: the engine's for this GPU's memory.",
        metavar="N",
        rich_help_panel=_PANEL,
    ),
    Count(),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        help="Tokens that the KV cache holds. Default: what the GPU would without weights.",
        metavar="N",
        rich_help_panel=_PANEL,
    ),
    Count(),
]
Captured = Annotated[
    tuple[int, ...] | None,
    typer.Option(
        help="Batch sizes of the server's CUDA graphs, commas between. Default: the engine's.",
        metavar="NUMBERS",
        rich_help_panel=_PANEL,
    ),
    Counts(),
]
StepMs = Annotated[
    float | None,
    typer.Option(
        help="Milliseconds of a decode step, for how many requests meet. Default: as the log measured, else 20.",
        metavar="MS",
        rich_help_panel=_PANEL,
    ),
    Real(0.001, 60_000.0),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List the workloads, and measure nothing. Needs neither a GPU nor torch.")
]
