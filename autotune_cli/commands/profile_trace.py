"""``autotune profile --from-trace``: a recorded trace, judged or listed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from autotune_cli.commands.options.profile import ProfileOptions
from autotune_cli.commands.profile_expected import expectation
from autotune_cli.errors import EXIT_NOT_COMPARABLE, EXIT_OK, BadField
from autotune_cli.plain_text import shown
from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.checks import self_check
from autotune_cli.profiling.classify import Classifier, load_classifier
from autotune_cli.profiling.findings import ProfileVerdict
from autotune_cli.profiling.phases import Recording, make_use
from autotune_cli.profiling.presets import load_preset
from autotune_cli.profiling.readers.finding import find_trace, read_trace, sources_of_rank
from autotune_cli.profiling.steps import paged_steps
from autotune_cli.profiling.trace import Trace
from autotune_cli.profiling.verdict import judge
from autotune_cli.render.console import Console
from autotune_cli.render.profile_listing import fired
from autotune_cli.sglang.resolve import forced_paged


def judge_trace(options: ProfileOptions) -> tuple[ProfileVerdict, list[str]]:
    """The verdict, and what the self-check tried.

    Raises:
        AutotuneError: no such trace, or bad options.
    """
    errors = Console(stderr=True)
    expected, warning = expectation(options)
    _warn(errors, warning)
    if options.preset is not None:
        # What else is asked for says the shape, if anything does.
        preset = load_preset(options.preset)
        said = any(value is not None for value in (options.mode, options.paged, options.prefix))
        shape = expected.shape if said else preset.shape
        expects = (*expected.expects, *preset.expects)
        expected = replace(expected, shape=shape, expects=expects, libraries=preset.libraries, preset=preset.name)
    recording, classify = _recorded(options, errors)
    if options.mode is None and expected.shape in ("ragged", "pair", "ragged or pair"):
        # The steps of a server have modes of their own.
        paged = paged_steps(phase.name for phase in recording.phases)
        expected = replace(expected, shapes=tuple((name, "paged") for name in paged))
    verdict = judge(recording, expected)
    if not options.self_check:
        return verdict, []
    checked, faults = self_check(recording, expected, lambda name: make_use(name, 1, 0.0, classify))
    return ProfileVerdict(verdict.recording, expected, verdict.phases, (*verdict.problems, *faults)), checked


def list_trace(options: ProfileOptions) -> tuple[Recording, int]:
    """What fired, without a verdict, and the exit code.

    Raises:
        AutotuneError: no such trace; a self-check, which needs something to judge.
    """
    if options.self_check:
        raise BadField("self_check", "needs something to expect, such as --paged or --no-paged")
    errors = Console(stderr=True)
    _warn(errors, forced_paged(None, os.environ).warning)
    recording, _ = _recorded(options, errors)
    return recording, EXIT_OK if fired(recording) else EXIT_NOT_COMPARABLE


def _recorded(options: ProfileOptions, errors: Console) -> tuple[Recording, Classifier]:
    """The trace in phases, and the rules by which its kernels were told apart."""
    assert options.from_trace is not None
    preset = None if options.preset is None else load_preset(options.preset)
    classify = load_classifier(options.rules or (), preset.rules if preset else ())
    trace = _read(find_trace(Path(options.from_trace), options.rank), errors)
    trace.path = options.from_trace
    # A folder's file was chosen by its rank already.
    rank = None if os.path.isdir(options.from_trace) else options.rank
    sources = sources_of_rank(trace, rank)
    return split_into_phases(trace, classify, options.range or (), sources), classify


def _warn(errors: Console, warning: str | None) -> None:
    if warning:
        errors.print(Text(f"note: {shown(warning)}", style="yellow"), soft_wrap=True)


def _read(path: Path, errors: Console) -> Trace:
    """Reads the trace; on a terminal with a bar."""
    if not errors.is_terminal:
        return read_trace(path)
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    words = TextColumn("reading {task.description}", markup=False)
    columns = (words, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(shown(path.name))

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return read_trace(path, report)
