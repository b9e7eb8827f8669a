"""What a run is asked for, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune_cli.kernels.engines import Baseline
from autotune_cli.kernels.properties import Property
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import RunFile, StandsFor, Traffic
from autotune_cli.tuning.focus import Focus
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.worker.process import BUILD_TIMEOUT_S
from autotune_cli.worker.protocol import WorkerSettings


@dataclass(frozen=True)
class Request:
    """What to tune and how."""

    name: str
    workloads: tuple[AnyWorkload, ...]
    worker: WorkerSettings
    policy: RacePolicy
    root: Path
    baselines: tuple[Baseline, ...] = ()
    """What winners are held to; the default first."""
    asked: str | None = None
    """Name of the baseline that the user named; None: the default is enough."""
    model_type: str = ""
    """Of the model's config.json, by which some engines choose."""
    use_cache: bool = True
    gpus: tuple[str | None, ...] = (None,)
    """CUDA_VISIBLE_DEVICES of each worker; None: the first GPU, or the CPU."""
    cluster: str | None = None
    """Address of the Ray cluster whose nodes measure, ``auto``: the one that runs here. None: this machine measures."""
    backends: tuple[str, ...] = ()
    """Only these; empty: all."""
    focus: Focus | None = None
    """Only this, beside the baselines; None: everything."""
    required: tuple[Property, ...] = ()
    """What a candidate must be shown to keep, or it can't win."""
    page_sizes: tuple[int, ...] = ()
    timeout_s: float = 60.0
    build_timeout_s: float = BUILD_TIMEOUT_S
    """Of one module."""
    budget_s: float | None = None
    resume: bool = False
    explain_miss: bool = False
    keep_noisy: bool = False
    """Keep results in the cache whose times can't be trusted, see :mod:`autotune_cli.measure.noise`."""
    command: tuple[str, ...] = ()
    traffic: Traffic | None = None
    """What the workloads were made from; None: a grid."""
    stands_for: Mapping[str, StandsFor] = field(default_factory=dict)
    """What of the traffic each workload stands for, by its key."""


@dataclass
class RunOutcome:
    """What a run came to."""

    path: Path
    run: RunFile
    interrupted: bool = False
    measured: int = 0
    journal: Path | None = None
    """Kept for resuming after an interruption."""
    lost: str | None = None
    """Why the run could not be completed: all its workers were lost."""
