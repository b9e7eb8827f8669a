"""What results there are in ``cache/`` and ``runs/``, each with what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune_cli.errors import AutotuneError
from autotune_cli.results.cache import CACHE
from autotune_cli.results.files import read_run
from autotune_cli.results.runs import FLASHINFER_SUFFIX, newest_runs
from autotune_cli.results.schema import RunFile, WorkloadResult


@dataclass(frozen=True)
class Overview:
    """One result file, or what it holds of one device."""

    kind: Literal["cache", "run"]
    name: str
    """What ``show`` and ``diff`` take: of a cache its name, of a run that of its file."""
    path: Path
    created: str = ""
    """ISO 8601: when the run began; of a cache, when its newest workload of this device was measured."""
    device: str = ""
    workloads: int = 0
    chosen: int = 0
    """Workloads of which a candidate was chosen."""
    over: str = ""
    """Name of the default baseline, where there is one."""
    speedups: tuple[float, ...] = ()
    """The winners' over it."""
    complete: bool = True
    problem: str = ""
    """Why the file can't be read."""


def overviews(root: Path) -> list[Overview]:
    """Caches by name, then runs, the newest first; a file with several devices has one entry each.

    Args:
        root: folder of ``cache/`` and ``runs/``; without these there is nothing.
    """
    files = sorted(path for path in (root / CACHE).glob("*.json") if not path.name.startswith("."))
    caches = [path for path in files if not path.stem.endswith(FLASHINFER_SUFFIX)]
    found = [entry for path in caches for entry in _of("cache", path, path.stem)]
    return found + [entry for path in newest_runs(root) for entry in _of("run", path, path.stem)]


def _of(kind: Literal["cache", "run"], path: Path, name: str) -> Iterator[Overview]:
    try:
        if not os.path.isfile(path):
            raise IsADirectoryError(path)
        run = read_run(path)
    except AutotuneError as error:
        yield Overview(kind, name, path, problem=str(error).removeprefix(f"{path}: "))
        return
    except OSError:
        yield Overview(kind, name, path, problem="is no file")
        return
    devices = list(dict.fromkeys(run.environments[result.environment].device for result in run.workloads))
    for device in devices:
        results = [result for result in run.workloads if run.environments[result.environment].device == device]
        yield _described(kind, name, path, run, device, results)
    if not devices:
        yield Overview(kind, name, path, run.created, run.environments[run.environment].device, complete=run.complete)


def _described(
    kind: Literal["cache", "run"], name: str, path: Path, run: RunFile, device: str, results: list[WorkloadResult]
) -> Overview:
    firsts = [first for result in results if (first := result.baseline()) is not None]
    created = run.created if kind == "run" else max(result.measured_at for result in results)
    return Overview(
        kind,
        name,
        path,
        created,
        device,
        len(results),
        sum(result.choice is not None and result.choice.winner is not None for result in results),
        " and ".join(dict.fromkeys(first.name for first in firsts)),
        tuple(first.speedup for first in firsts if first.speedup is not None),
        run.is_complete(device),
    )
