"""What a reader of traces is: the ``READER`` of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from autotune_cli.profiling.readers.stream import Progress
from autotune_cli.profiling.trace import Trace


@dataclass(frozen=True)
class TraceReader:
    """A kind of file that holds a trace."""

    rank: int
    """Readers are asked in this order; Chrome's is the last one, and says of anything that no other reads what is wrong
    with it."""
    endings: tuple[str, ...]
    """Of its files' names: by them traces are found in a folder."""
    recognises: Callable[[bytes], bool]
    """Is it a file of this kind? It is given the file's first bytes, :data:`START` at most."""
    read: Callable[[Path, Progress | None, BinaryIO | None], Trace]
    """Reads the file, or the open stream of a pipe, which can't be opened again, and closes it.

    Raises:
        BadTrace: the file is cut off, damaged or no trace.
    """
    no_pipe: str = ""
    """Why it can't be read from a pipe; empty: it can."""
    is_trace: Callable[[Path], bool] = lambda path: True
    """Is a file with such an ending, in a folder with others, a trace?"""
    rank_of: Callable[[Path], int | None] = lambda path: None
    """The rank that the file names as its own, where its name tells none."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By ending: what has to be done with related files before they can be read."""


START = 16
"""How many bytes of a file are looked at."""
