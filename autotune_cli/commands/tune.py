"""``autotune tune``: call the engine, print the result, exit code."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autotune_cli.commands.options.tune import TuneOptions
    from autotune_cli.render.console import Console
    from autotune_cli.tuning.request import Request, RunOutcome

EXAMPLES = """
autotune tune --model llama-3.1-8b --op decode --budget 5m
autotune tune --no-cache --kernels mine.py --op topk --batch 16 --focus mine
"""


def tune(options: TuneOptions) -> None:
    """Find the fastest kernel and knobs that are right, for each workload of a model on this device.

    Exit code: 0 every workload has a winner, 2 bad usage or input, 4 the run could not be completed, 70 a fault of the
    program itself, 130 Ctrl-C (what was measured is written).
    """
    from rich.text import Text

    from autotune_cli.commands.compare import choose_earlier, report_on_edit
    from autotune_cli.commands.printing import READ, check_format, check_no_input, check_writable, write_result
    from autotune_cli.commands.tune_request import tune_request
    from autotune_cli.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED
    from autotune_cli.plain_text import shown
    from autotune_cli.render.console import Console
    from autotune_cli.render.run_formats import RunView

    errors = Console(stderr=True)
    name, has_own = _format(options), bool(options.kernels)
    # A run takes minutes: what can't be written is said before.
    check_format("suite" if options.dry_run else "run", name, options.output)
    check_writable(options.output)
    read = (*(options.kernels or ()), *(options.traffic or ()), options.config, options.scores_file)
    check_no_input(options.output, *read, what=READ)
    if options.dry_run:
        from autotune_cli.commands.dry_run import dry_run

        dry_run(options, name, errors)
        return
    request, column = tune_request(options, errors)
    compared = choose_earlier(options.compare, has_own, request.use_cache, options.root, request.name, options.resume)
    outcome, stopped_by = _run(request, errors, live=name != "json")
    path, run = outcome.path, outcome.run
    own = report_on_edit(compared, path, run, has_own)
    verb = "wrote" if outcome.measured or not request.use_cache else "nothing to measure:"
    wrote = f"{verb} {shown(str(path))} ({run.wall_s:.1f} s)"

    def below(console: Console) -> None:
        own.print(console, options.every)
        console.print(wrote, soft_wrap=True)

    view = RunView(path, run, options.every, column, own.data(), own.lines, below)
    write_result("run", name, view, options.output)
    if name not in ("table", "json") or options.output is not None:
        errors.print(wrote, soft_wrap=True)
    if outcome.lost is not None:
        errors.print(
            Text(f"{shown(outcome.lost)}; go on with the same command and --resume", style="yellow"), soft_wrap=True
        )
        raise typer.Exit(EXIT_INCOMPLETE)
    if outcome.interrupted:
        errors.print("interrupted; go on with the same command and --resume", style="yellow")
        raise typer.Exit(EXIT_INTERRUPTED if stopped_by == signal.SIGINT else EXIT_INCOMPLETE)
    if any(result.choice is None for result in run.workloads):
        raise typer.Exit(EXIT_INCOMPLETE)


def _format(options: TuneOptions) -> str:
    """The name of the format.

    Raises:
        BadField: ``--json`` beside another one.
    """
    from autotune_cli.errors import BadField

    if not options.json:
        return options.format
    if options.format not in ("table", "json"):
        raise BadField("json", f"is short for --format json, and --format is {options.format}")
    return "json"


def _run(request: Request, errors: Console, live: bool) -> tuple[RunOutcome, int | None]:
    """The engine's run, watched on stderr; and the signal that stopped it, if one did.

    Args:
        live: a table that changes, where stderr is a terminal; else lines.

    Raises:
        KeyboardInterrupt: Ctrl-C before anything was measured, or twice.
        typer.Exit: SIGTERM, which is how a scheduler ends a job: an incomplete one.
    """
    from autotune_cli.commands.flags import with_flags
    from autotune_cli.commands.signals import Signals
    from autotune_cli.errors import EXIT_INCOMPLETE
    from autotune_cli.render.watch_lines import Lines
    from autotune_cli.render.watch_table import LiveTable

    if request.cluster is None:
        from autotune_cli.tuning.run import tune as run_tuning
    else:
        from autotune_cli.tuning.cluster.run import tune_on_cluster as run_tuning

    watcher = (LiveTable if errors.is_terminal and live else Lines)(errors, with_flags)
    stop = threading.Event()
    signals = Signals(stop)
    try:
        with signals:
            return run_tuning(request, watcher, stop), signals.first
    except KeyboardInterrupt:
        if signals.first != signal.SIGTERM:
            raise
        errors.print("interrupted", style="yellow")
        raise typer.Exit(EXIT_INCOMPLETE) from None
