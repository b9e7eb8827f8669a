"""The name of a result that was given none: the suite's, except where that is the cache of a GPU's results."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.errors import BadFile
from autotune_cli.fields import Field, Message
from autotune_cli.results.cache import CacheStore
from autotune_cli.results.files import read_run

_SUFFIX = "-cpu"


def default_name(root: Path, name: str, device_kind: str) -> tuple[str, str | None]:
    """The name for results of this machine, and a note where it is not the suite's.

    A cache that holds a GPU's results, and none of a processor, is likely to be one that was measured elsewhere and
    is kept in version control. A run on a CPU, which is a trial, goes beside it, unless that file is asked for by name.

    Args:
        name: the suite's.
        device_kind: ``cuda`` or ``cpu``.
    """
    if device_kind != "cpu":
        return name, None
    path = CacheStore(root, name).path
    # What is no regular file, or can't be read, is the cache's to refuse or to set aside.
    try:
        run = read_run(path) if path.is_file() else None
    except BadFile:
        return name, None
    kinds = {run.environments[result.environment].device_kind for result in run.workloads} if run else set()
    if "cuda" not in kinds or "cpu" in kinds:
        return name, None
    other = name + _SUFFIX
    return (
        other,
        Message(
            "{path} holds a GPU's results; these go to {other} ({name} adds them)",
            path=path,
            other=path.with_name(f"{other}.json"),
            name=Field("name", name),
        ),
    )
