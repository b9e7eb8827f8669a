"""What ``autotune plan`` and ``autotune export`` share: which results they plan for, and what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from autotune_cli.commands.flags import with_flags
from autotune_cli.commands.printing import check_no_input
from autotune_cli.errors import BadField
from autotune_cli.fields import Message
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
    @property
    def step_trace(self) -> list[Path] | None: ...


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
    found = of_one_device(run, device)
    if not run.is_complete(found.device.device):
        errors.say(f"note: {shown(str(path))} is not complete, so a plan knows only a part of it", style="yellow")
    return found


def request_of(options: Asked, engine: str | None = None) -> Request:
    """What is asked of the planner; notes on stderr tell what a trace says.

    Raises:
        BadField: a version that is none; a trace that could tell nothing more.
        BadTrace: a trace that tells neither how long a decode step takes nor a prefill chunk.
    """
    version = None if options.engine_version is None else checked_version(options.engine_version)
    step_ms, chunk_ms = _steps(options)
    return Request(
        engine=engine if engine is not None else getattr(options, "engine", None),
        version=version,
        baseline=options.baseline,
        weights=options.traffic_weights,
        pins=tuple(options.pin or ()),
        step_ms=step_ms,
        chunk_ms=chunk_ms,
    )


def _steps(options: Asked) -> tuple[float | None, float | None]:
    """Milliseconds of a decode step and of a prefill chunk: as the user says, or else as a trace does."""
    if not options.step_trace:
        return options.step_ms, options.chunk_ms
    from autotune_cli.traffic.step_times import StepKind, step_times

    given: dict[StepKind, float | None] = {"decode": options.step_ms, "prefill": options.chunk_ms}
    wanted: list[StepKind] = [kind for kind, ms in given.items() if ms is None]
    if not wanted:
        raise BadField("step_trace", Message("{fields.step_ms} and {fields.chunk_ms} say all that it could tell"))
    found, refused = step_times(options.step_trace, wanted)
    errors = Console(stderr=True)
    for note in [*(time.note for time in found.values()), *refused]:
        errors.say(f"note: {with_flags(note)}", style="yellow")
    decode, chunk = (found[kind].ms if kind in found else given[kind] for kind in ("decode", "prefill"))
    return decode, chunk


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
