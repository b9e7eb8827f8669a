"""Focus: the user's own kernels, the baselines, and the best known competitor of each workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autotune_cli.errors import BadFile
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.results.cache import CACHE
from autotune_cli.results.files import read_run
from autotune_cli.results.runs import newest_runs
from autotune_cli.results.schema import MEASURED, RunFile

MINE = "mine"
# Runs of the name that are looked through for a competitor, the newest first.
_RUNS = 4


@dataclass(frozen=True)
class Focus:
    """Which candidates race beside the baselines."""

    name: str
    """``mine``: backends that are not this program's; else how a backend's name or a candidate's key begins."""
    rivals: dict[str, str] = field(default_factory=dict)
    """By key of the workload: the fastest candidate outside of the focus in the last run that has one."""

    def has(self, backend: str, key: str) -> bool:
        """Is the candidate one of those that are looked at?"""
        return is_own(backend) if self.name == MINE else key.startswith(self.name)


def is_own(backend: str) -> bool:
    """Is it a backend of the user's? In the process that plans nothing only this program's are registered."""
    return backend not in {each.name for each in REGISTRY.all()}


def focus_on(name: str, root: Path, result: str, workloads: Sequence[str]) -> Focus:
    """The focus with the competitors that are known.

    Args:
        name: see :class:`Focus`.
        root: folder of ``cache/`` and ``runs/``.
        result: name whose newest runs, and then whose cache, are looked through; what can't be read is passed over.
        workloads: keys.
    """
    bare = Focus(name)
    rivals: dict[str, str] = {}
    for path in (*newest_runs(root, result)[:_RUNS], root / CACHE / f"{result}.json"):
        missing = [key for key in workloads if key not in rivals]
        if not missing or not path.is_file():
            continue
        try:
            rivals |= _rivals(read_run(path), missing, bare)
        except BadFile:
            continue
    return Focus(name, rivals)


def _rivals(run: RunFile, workloads: Sequence[str], focus: Focus) -> dict[str, str]:
    found = {}
    for result in run.workloads:
        timed = {
            one.key: one.median_us
            for one in result.candidates
            if one.status in MEASURED and one.median_us is not None and not focus.has(one.backend, one.key)
        }
        if timed and result.key in workloads:
            found[result.key] = min(timed, key=lambda key: timed[key])
    return found
