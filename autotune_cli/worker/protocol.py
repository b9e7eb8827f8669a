"""What all jobs of a worker share, on both sides of the connection: small picklable records, no tensors.

The parent never imports torch, a kernel library or a user's kernel file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune_cli.results.schema import Environment

ReportPhase = Callable[[str, str], None]
"""Tells the parent what a worker does, and sets its clock anew: a phase's name and its subject."""

Job = Any
"""Called in the worker with what its program serves jobs with; returns something that can be pickled."""

REFERENCE_PHASE = "reference"
"""The phase in which a worker draws inputs and computes the exact output: no candidate's time."""

JUDGE_PHASE = "judge"
"""The phase in which an output is judged and inputs are looked at for changes: no candidate's time either."""

PROPERTIES_PHASE = "properties"
"""The phase in which a candidate runs again and again, as something is required of it beside being right."""

BUILD_PHASES = ("build", "modules")
"""Phases in which something may be compiled. Modules are there already, but that is for the library to find out."""

KERNEL_FILE_ERROR = "kernel-file"
NO_DEVICE_ERROR = "no-device"


class Refusal(Exception):
    """Why a worker can't serve: one of the two kinds above, and the details."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs to know when it starts."""

    device: str
    """``cuda`` or ``cpu``."""
    timer: str | None = None
    """None: the best one for the device."""
    l2: str = "cold"
    seed: int = 0
    kernel_files: tuple[str, ...] = ()
    """Users' files that register backends."""
    flashinfer_choices: str | None = None
    """Where FlashInfer's own autotuner keeps what it chooses for the worker's candidates; None: it tunes nothing."""


@dataclass(frozen=True)
class Ready:
    """The greeting of a worker that has a device."""

    environment: Environment
    card: str | None
    """UUID of the GPU; None: a CPU."""
