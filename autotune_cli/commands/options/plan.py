"""The options of ``autotune plan``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.kinds import Real
from autotune_cli.commands.options import shared

_MILLISECONDS = Real(1e-3, 1e7)

Engine = Annotated[
    str | None,
    typer.Option(help="The engine that serves. Default: that of the result's default baseline.", metavar="ENGINE"),
]
Version = Annotated[
    str | None,
    typer.Option(
        help="Its version. Default: the installed one, or the newest whose rules are known.", metavar="VERSION"
    ),
]
Pins = Annotated[
    list[str] | None,
    typer.Option(help="Fix a setting, such as page_size=64 or attention_backend=fa3.", metavar="SETTING=VALUE"),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="How often each workload is in a step: equal; or decode=8,prefill=1; or 'decode 64x8192=30'; or a JSON "
        "file of weights by workload. Default: the result's traffic, or equal.",
        metavar="WEIGHTS",
    ),
]
OfDevice = Annotated[
    str | None,
    typer.Option(help="Of a file with several devices, this one: a part of its name, such as h200.", metavar="NAME"),
]
Over = Annotated[
    str | None,
    typer.Option(help="What gains are over, one of the file's baselines. Default: its default.", metavar="BASELINE"),
]
Result = Annotated[
    str,
    typer.Argument(
        metavar="RESULT",
        help="'latest', 'previous', a cache name, a run's name, or a file. Default: the latest run.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class PlanOptions:
    """Which result, for which server, and how it is printed."""

    file: Result = "latest"
    engine: Engine = None
    engine_version: Version = None
    pin: Pins = None
    traffic_weights: Weights = None
    device: OfDevice = None
    baseline: Over = None
    step_ms: Annotated[
        float | None,
        typer.Option(help="A decode step of the untuned server: changes are shown as a share of it.", metavar="MS"),
        _MILLISECONDS,
    ] = None
    chunk_ms: Annotated[
        float | None,
        typer.Option(help="A prefill chunk of the untuned server, likewise.", metavar="MS"),
        _MILLISECONDS,
    ] = None
    every: Annotated[
        bool, typer.Option("--all", help="Show each batch shape's step, and what can't be planned with.")
    ] = False
    format: shared.PlanFormat = "table"
    output: shared.Output = None
    name: shared.OfName = None
    root: shared.Root = Path()
