"""What a format of logs is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autotune_cli.traffic.log import Log
from autotune_cli.traffic.source import Source
from autotune_cli.traffic.steps import Steps


@dataclass
class Recorded:
    """The batches of a server as something recorded them: nothing is left to simulate."""

    about: str
    """What the file was read as, in words."""
    steps: Steps = field(default_factory=Steps)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """What a reader is told beside the file."""

    captured: tuple[int, ...] = ()
    """Batch sizes of the server's CUDA graphs."""
    context: int | None = None
    """Keys of a request where the file doesn't tell."""


@dataclass(frozen=True)
class Format:
    """The ``FORMAT`` of a reader's file."""

    rank: int
    """The format with the lowest that recognises a file reads it."""
    about: str
    """In the list of what is accepted."""
    recognises: Callable[[str], bool]
    """By the file's beginning, some 64 KiB of text."""
    read: Callable[[Source, Reading], Log | Recorded]
    """Raises :class:`~autotune_cli.traffic.errors.BadTraffic`, with the line where there is one."""
