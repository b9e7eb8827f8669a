"""The options of ``autotune kernels``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from autotune_cli.commands.options import shared


@dataclass(frozen=True)
class KernelsOptions:
    """Which backends, where, and how they are printed."""

    kernels: shared.KernelFiles = None
    check: Annotated[
        str | None,
        typer.Option(
            help="Hold the backends of these operations (topk) against every kind of input.", metavar="OPERATIONS"
        ),
    ] = None
    backend: Annotated[
        str | None,
        typer.Option(help="With --check, only these backends (flashinfer, torch.topk ...).", metavar="NAMES"),
    ] = None
    timeout: shared.Timeout = 60.0
    """Seconds."""
    seed: shared.Seed = 0
    device: shared.Device = "auto"
    format: shared.KernelsFormat = "table"
    output: shared.Output = None
