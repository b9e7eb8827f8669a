"""The options of ``autotune show``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.options import shared


@dataclass(frozen=True)
class ShowOptions:
    """Which result file, how much of it, and how it is printed."""

    file: shared.Result = "latest"
    every: shared.Every = False
    baseline: Annotated[
        str | None,
        typer.Option(help="What the table's speed-ups are over, one of the file's baselines.", metavar="BASELINE"),
    ] = None
    device: shared.OfDevice = None
    svg: Annotated[
        Path | None, typer.Option(help="Write the picture of the terminal to this SVG file too.", metavar="FILE")
    ] = None
    format: shared.RunFormat = "table"
    output: shared.Output = None
    name: shared.OfName = None
    root: shared.Root = Path()
