"""A run in progress: what was asked for, what it runs on, and what it has come to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from autotune_cli.results.cache import CacheStore
from autotune_cli.results.schema import Environment, Settings, WorkloadResult
from autotune_cli.tuning.flashinfer_choices import FlashinferFiles
from autotune_cli.tuning.own import OwnFiles
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.request import Request


@dataclass
class RunState:
    """Shared by the threads of a run."""

    request: Request
    progress: TuneProgress
    stop: threading.Event
    settings: Settings
    environment: Environment
    """That of the file. With the ceilings of the first card, once they are measured."""
    environment_key: str
    begin: float
    """By ``time.monotonic()``."""
    created: datetime
    """UTC."""
    store: CacheStore
    flashinfer: FlashinferFiles | None
    """Of its own autotuner; None: it tunes nothing, as over a cluster."""
    own_files: OwnFiles
    results: dict[str, WorkloadResult] = field(default_factory=dict)
    """By key of the workload, in the order in which they were found."""
    errors: list[BaseException] = field(default_factory=list)
    interrupted: bool = False
    lost: list[str] = field(default_factory=list)
    """Why each worker is gone that was lost."""
    cached_traffic: str | None = None
    """Digest of the traffic whose weights the cache has."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def end(self) -> float:
        """Of the budget, by ``time.monotonic()``; infinite without one."""
        return budget_end(self.request, self.begin)

    def budget_left_s(self, kept_s: float = 0.0) -> float | None:
        """Seconds of the budget beside ``kept_s``, at least 0; None: there is no budget."""
        spent = time.monotonic() - self.begin + kept_s
        return None if self.request.budget_s is None else max(0.0, self.request.budget_s - spent)


def budget_end(request: Request, begin: float) -> float:
    """When the budget of a run is over that began at ``begin``, both by ``time.monotonic()``."""
    return float("inf") if request.budget_s is None else begin + request.budget_s
