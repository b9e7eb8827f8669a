"""The options of ``autotune kernels``."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.commands.options import shared


@dataclass(frozen=True)
class KernelsOptions:
    """Which backends, where, and how they are printed."""

    kernels: shared.KernelFiles = None
    device: shared.Device = "auto"
    format: shared.KernelsFormat = "table"
    output: shared.Output = None
