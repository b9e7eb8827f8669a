"""A result file as typed records and as pandas frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_cli.results import files
from autotune_cli.results.cache import CACHE
from autotune_cli.results.integrity import doubts
from autotune_cli.results.naming import LATEST, find_one
from autotune_cli.results.runs import check_name
from autotune_cli.results.schema import Environment, RunFile, WorkloadResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from autotune_cli.planning.records import Plan

_ROOT = "AUTOTUNE_ROOT"


@dataclass(frozen=True)
class Run:
    """One run, or the cache of a name."""

    path: Path
    """Where it was read."""
    file: RunFile = field(repr=False)
    """All that is in it, as validated, immutable records; docs/run.schema.json is the schema."""
    doubts: tuple[str, ...] = ()
    """Why not all of it may be what was measured, as ``autotune show`` notes: an edited environment ..."""

    @property
    def name(self) -> str:
        """The name of the result."""
        return self.file.name

    @property
    def workloads(self) -> tuple[WorkloadResult, ...]:
        """What is known of each workload: candidates, choice, baselines."""
        return self.file.workloads

    @property
    def environments(self) -> dict[str, Environment]:
        """Devices with their versions, by what :attr:`WorkloadResult.environment` names."""
        return self.file.environments

    def frame(self) -> pd.DataFrame:
        """One row a candidate of a workload, in the order of the file; times are microseconds. docs/api.md lists the
        columns.

        Raises:
            MissingPackage: pandas is not installed.
        """
        from autotune_cli.api.frames import candidates_frame

        return candidates_frame(self.file)

    def rounds(self) -> pd.DataFrame:
        """One row a round of a candidate, the second copy of the A/A comparison included; times are microseconds.
        docs/api.md lists the columns.

        Raises:
            MissingPackage: pandas is not installed.
        """
        from autotune_cli.api.frames import rounds_frame

        return rounds_frame(self.file)

    def plan(
        self,
        device: str | None = None,
        *,
        engine: str | None = None,
        engine_version: str | None = None,
        pins: Sequence[str] = (),
        weights: str | None = None,
        baseline: str | None = None,
        step_ms: float | None = None,
        chunk_ms: float | None = None,
    ) -> Plan:
        """What ``autotune plan`` prints with the same options: one server's settings for all workloads of a device.

        Args:
            device: a part of the product's name; None: the only one of the file.
            pins: such as ``page_size=64``.

        Raises:
            NoPlan: nothing that the engine runs was measured.
            AutotuneError: an option that makes no sense, or a pin that can't be kept.
        """
        from autotune_cli.planning.device import of_one_device
        from autotune_cli.planning.plan import Request, plan_of

        request = Request(engine, engine_version, baseline, weights, tuple(pins), step_ms, chunk_ms)
        return plan_of(of_one_device(self.file, device), request)


def read_run(result: str | Path = LATEST, *, root: str | Path | None = None, name: str | None = None) -> Run:
    """The result that ``autotune show`` prints when it is given the same.

    Args:
        result: ``latest``, ``previous``, the name of a cache or of a run, or a file.
        root: folder of ``cache/`` and ``runs/``; None: ``AUTOTUNE_ROOT``, or else the current folder.
        name: the name whose runs ``latest`` and ``previous`` mean; None: any.

    Raises:
        NoSuchResult: nothing is called like that, or several are.
        BadFile: the file can't be read as a result; NewerSchema, one of these: a newer version wrote it.
    """
    return _read(find_one(str(result), _folder(root), name))


def load_cache(name: str, *, root: str | Path | None = None) -> Run:
    """The cache of a name, ``cache/<name>.json``. It may hold results of several devices.

    Args:
        name: such as ``llama-3.1-8b``.
        root: as for :func:`read_run`.

    Raises:
        BadName: no name of a cache, such as a path.
        NoSuchResult: there is no such cache.
        BadFile, NewerSchema: as for :func:`read_run`.
    """
    name = str(name)
    check_name(name)
    path = _folder(root) / CACHE / f"{name}.json"
    return _read(path if path.exists() else find_one(str(path), _folder(root)))


def _folder(root: str | Path | None) -> Path:
    return Path(os.environ.get(_ROOT, "") if root is None else root)


def _read(path: Path) -> Run:
    file = files.read_run(path)
    return Run(path, file, tuple(doubts(file)))
