"""The Typer application: wiring only. Imports neither torch, pandas nor a kernel library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from autotune_cli import __version__
from autotune_cli.commands.agree import agree
from autotune_cli.commands.diff import diff
from autotune_cli.commands.diff_sides import DiffCommand
from autotune_cli.commands.doctor import doctor
from autotune_cli.commands.export import export
from autotune_cli.commands.helping import Entry, HelpfulGroup
from autotune_cli.commands.kernels import kernels
from autotune_cli.commands.list import list_results
from autotune_cli.commands.plan import plan
from autotune_cli.commands.profile import profile
from autotune_cli.commands.report import report
from autotune_cli.commands.show import show
from autotune_cli.commands.tune import tune
from autotune_cli.commands.verify import verify
from autotune_cli.errors import EXIT_OK, EXIT_USAGE, AutotuneError
from autotune_cli.outermost import guarded
from autotune_cli.plain_text import shown

# A shell that completes a word sets this variable.
_COMPLETE = "_AUTOTUNE_COMPLETE"
# The base of all usage errors. Newer versions of Typer carry click as a private module and don't name this class.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="autotune",
    cls=HelpfulGroup,
    help="Finds the fastest correct attention and top-k kernels for LLM serving on this GPU.",
    epilog="autotune tune --model llama-3.1-8b\nautotune show cache/llama-3.1-8b.json",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Help is plain, as importing rich's panels takes longer than everything else here together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
HelpfulGroup.entries = {
    "tune": Entry(tune),
    "profile": Entry(profile),
    "show": Entry(show),
    "plan": Entry(plan),
    "export": Entry(export),
    "diff": Entry(diff, DiffCommand),
    "report": Entry(report),
    "agree": Entry(agree),
    "verify": Entry(verify),
    "kernels": Entry(kernels),
    "list": Entry(list_results),
    "doctor": Entry(doctor),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kernel-autotune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of a fault of the program itself."),
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """The exit code of a command line.

    Args:
        arguments: without the program's name.

    Raises:
        AutotuneError: a failure that a user can meet; and whatever nobody foresaw.
    """
    command = typer.main.get_command(app)
    try:
        if _COMPLETE in os.environ:
            command.main(args=list(arguments), prog_name="autotune")
        # command.main() is not called: to it a closed pipe, wherever in the program it is, means exit code 1.
        with command.make_context("autotune", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except SystemExit as done:
        # Completion in a shell ends so.
        if done.code not in (None, 0):
            raise
    except _USAGE_ERROR as error:
        if arguments:
            raise _as_ours(error) from None
        # The message is the whole help.
        error.show(file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _as_ours(error: Any) -> AutotuneError:
    """A usage error of Typer's as one of this program's: one line, which names the help to look at."""
    text = shown(error.format_message()).removesuffix(".")
    seen = "" if error.ctx is None else f" (see '{error.ctx.command_path} -h')"
    return AutotuneError(detail=f"{text[:1].lower()}{text[1:]}{seen}")


def main() -> None:
    """Runs this process's command line and exits: a failure is one line and its exit code, never a traceback."""
    sys.exit(guarded(run, sys.argv[1:]))
