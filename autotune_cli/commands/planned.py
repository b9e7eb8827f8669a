"""What ``autotune plan`` and ``autotune export`` share: which results they plan for, and what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from autotune_cli.commands.printing import check_no_input
from autotune_cli.errors import BadField
from autotune_cli.plain_text import shown
from autotune_cli.planning.device import of_one_device
from autotune_cli.planning.plan import Request
from autotune_cli.render.console import Console
from autotune_cli.results.files import read_run
from autotune_cli.results.integrity import doubts
from autotune_cli.results.naming import find_one
from autotune_cli.results.schema import RunFile


class Asked(Protocol):
    """The options that say what a plan is for."""

    @property
    def engine_version(self) -> str | None: ...
    @property
    def pin(self) -> list[str] | None: ...
    @property
    def traffic_weights(self) -> str | None: ...
    @property
    def baseline(self) -> str | None: ...
    @property
    def step_ms(self) -> float | None: ...
    @property
    def chunk_ms(self) -> float | None: ...


def run_of(name: str, root: Path, of_name: str | None, device: str | None, output: Path | None) -> RunFile:
    """The results of one device; notes on stderr tell what makes them doubtful.

    Raises:
        NoSuchResult, BadFile: see :func:`find_one` and :func:`read_run`.
        UnknownName: no such device. BadField: the file has several, and none is named; or it is the output too.
    """
    path = find_one(name, root, of_name)
    check_no_input(output, path)
    run = read_run(path)
    errors = Console(stderr=True)
    for line in doubts(run):
        errors.say(f"note: {shown(str(path))}: {line}", style="yellow")
    if not run.complete:
        errors.say(f"note: {shown(str(path))} is not complete, so a plan knows only a part of it", style="yellow")
    return of_one_device(run, device)


def request_of(options: Asked, engine: str | None = None) -> Request:
    """What is asked of the planner.

    Raises:
        BadField: a version that is none.
    """
    version = None if options.engine_version is None else checked_version(options.engine_version)
    return Request(
        engine=engine if engine is not None else getattr(options, "engine", None),
        version=version,
        baseline=options.baseline,
        weights=options.traffic_weights,
        pins=tuple(options.pin or ()),
        step_ms=options.step_ms,
        chunk_ms=options.chunk_ms,
    )


def checked_version(text: str) -> str:
    """A version number as Python packages have it.

    Raises:
        BadField: it is none.
    """
    from packaging.version import Version

    try:
        return str(Version(text.strip()))
    except ValueError:  # InvalidVersion, or a number of thousands of digits
        raise BadField("engine_version", f"{text[:40]!r} is no version") from None
