"""Failures of a tuning for traffic that a user can meet."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.errors import AutotuneError


class BadTraffic(AutotuneError):
    """A log that can't be read, or that can't be what a server did."""

    template = "{where}: {detail}"

    def __init__(self, path: Path | str, detail: str, line: int | None = None) -> None:
        super().__init__(where=str(path) if line is None else f"{path}:{line}", detail=detail)
