"""The options of ``autotune export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.helping import complete_targets
from autotune_cli.commands.options import shared


@dataclass(frozen=True)
class ExportOptions:
    """Which result, as what, and where it goes."""

    file: shared.Result = "latest"
    to: Annotated[
        str,
        typer.Option(
            help="sglang, vllm (a launch script), flashinfer, lightllm (a folder that they load), csv, parquet or "
            "markdown.",
            metavar="TARGET",
            autocompletion=complete_targets,
        ),
    ] = "sglang"
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file, or folder, to write; one file goes to the terminal without it.",
                     metavar="PATH"),
    ] = None  # fmt: skip
    engine_version: shared.EngineVersion = None
    pin: shared.Pins = None
    traffic_weights: shared.TrafficWeights = None
    device: shared.OfDevice = None
    baseline: shared.GainsOver = None
    step_ms: shared.StepMs = None
    chunk_ms: shared.ChunkMs = None
    step_trace: shared.StepTraces = None
    name: shared.OfName = None
    root: shared.Root = Path()
