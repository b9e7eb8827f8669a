"""Logs for tests: the committed ones, and small ones."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.traffic.formats import read_log
from autotune_cli.traffic.formats.base import Reading, Recorded
from autotune_cli.traffic.log import Log, Request
from autotune_cli.traffic.source import Source

DATA = Path(__file__).parents[1] / "data" / "traffic"
CAPTURED = (1, 2, 4, 8, 12, 16, 24, 32)


def read(path: Path, context: int | None = None) -> Log | Recorded:
    with Source(path) as source:
        return read_log(source, Reading(CAPTURED, context))


def log_of(path: Path) -> Log:
    found = read(path)
    assert isinstance(found, Log)
    return found


def recorded(path: Path, context: int | None = None) -> Recorded:
    found = read(path, context)
    assert isinstance(found, Recorded)
    return found


def log(*requests: tuple[float, int, int] | tuple[float, int, int, int]) -> Log:
    made = [Request(*request) for request in requests]
    return Log("a test", made, len(made))
