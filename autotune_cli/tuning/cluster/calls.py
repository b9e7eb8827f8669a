"""What crosses between a run and the hosts of its workers on the nodes of a cluster: small picklable records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import autotune_cli
from autotune_cli.tuning.messages import ToBuild
from autotune_cli.worker.protocol import Job

# What the program is made of. The compiled files beside them follow from these.
_SOURCES = (".py", ".toml")


@dataclass(frozen=True)
class About:
    """The program on a machine: messages of another one can't be read, or mean something else."""

    version: str
    source: str
    """Hash of its files."""

    def __str__(self) -> str:
        return f"{self.version} ({self.source})"


@dataclass(frozen=True)
class StartCall:
    """Start the worker process."""

    left_s: float
    """Seconds that the caller has; infinite without a budget."""


@dataclass(frozen=True)
class AskCall:
    """Have the worker process do a job."""

    job: Job
    timeout_s: float
    build_timeout_s: float
    left_s: float


@dataclass(frozen=True)
class BuildCall:
    """Compile modules."""

    wanted: ToBuild
    budget_s: float | None
    timeout_s: float


Call = StartCall | AskCall | BuildCall


@dataclass(frozen=True)
class PhaseEvent:
    """The worker process does something."""

    name: str
    subject: str


@dataclass(frozen=True)
class BuildsEvent:
    """How far the builds are: a :class:`autotune_cli.tuning.progress.BuildsState`, in which ``running`` has seconds
    since each began, as two machines' clocks have nothing in common."""

    state: Any


@dataclass(frozen=True)
class DoneEvent:
    """What came of a call: its value, or what it raised."""

    value: Any
    error: BaseException | None
    starts: int
    """Processes that were started so far."""
    phase: tuple[str, str]


Event = PhaseEvent | BuildsEvent | DoneEvent


@cache
def about() -> About:
    """This program."""
    root = Path(autotune_cli.__file__).parent
    digest = hashlib.sha256()
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    # In a checkout a link to a folder beside the package, and a folder of it where it is installed.
    kernels = (root / "kernels").resolve()
    files |= {f"kernels/{path.relative_to(kernels).as_posix()}": path for path in kernels.rglob("*")}
    for name, path in sorted(files.items()):
        if path.suffix in _SOURCES:
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return About(autotune_cli.__version__, digest.hexdigest()[:12])
