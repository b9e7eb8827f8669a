"""The options of ``autotune plan``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.options import shared


@dataclass(frozen=True)
class PlanOptions:
    """Which result, for which server, and how it is printed."""

    file: shared.Result = "latest"
    engine: shared.Engine = None
    engine_version: shared.EngineVersion = None
    pin: shared.Pins = None
    traffic_weights: shared.TrafficWeights = None
    device: shared.OfDevice = None
    baseline: shared.GainsOver = None
    step_ms: shared.StepMs = None
    chunk_ms: shared.ChunkMs = None
    step_trace: shared.StepTraces = None
    every: Annotated[
        bool, typer.Option("--all", help="Show each batch shape's step, and what can't be planned with.")
    ] = False
    format: shared.PlanFormat = "table"
    output: shared.Output = None
    name: shared.OfName = None
    root: shared.Root = Path()
