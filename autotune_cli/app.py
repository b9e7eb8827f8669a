"""The Typer application: wiring only. Imports neither torch, pandas nor a kernel library."""

from __future__ import annotations

import sys

import typer

from autotune_cli import __version__
from autotune_cli.commands.diff import EXAMPLES as DIFF_EXAMPLES
from autotune_cli.commands.diff import DiffCommand, diff
from autotune_cli.commands.helping import Entry, HelpfulGroup
from autotune_cli.commands.kernels import EXAMPLES as KERNELS_EXAMPLES
from autotune_cli.commands.kernels import kernels
from autotune_cli.commands.profile import EXAMPLES as PROFILE_EXAMPLES
from autotune_cli.commands.profile import profile
from autotune_cli.commands.show import EXAMPLES as SHOW_EXAMPLES
from autotune_cli.commands.show import show
from autotune_cli.commands.tune import EXAMPLES as TUNE_EXAMPLES
from autotune_cli.commands.tune import tune
from autotune_cli.errors import EXIT_INCOMPLETE, AutotuneError

app = typer.Typer(
    name="autotune",
    cls=HelpfulGroup,
    help="Finds the fastest correct attention and top-k kernels for LLM serving on this GPU.",
    epilog="autotune tune --model llama-3.1-8b\nautotune show cache/llama-3.1-8b.json",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain help: rich's panels cost more time than everything else here together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
HelpfulGroup.entries = {
    "tune": Entry(tune, TUNE_EXAMPLES),
    "profile": Entry(profile, PROFILE_EXAMPLES),
    "show": Entry(show, SHOW_EXAMPLES),
    "diff": Entry(diff, DIFF_EXAMPLES, DiffCommand),
    "kernels": Entry(kernels, KERNELS_EXAMPLES),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kernel-autotune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main() -> None:
    """The entry point: a failure a user can meet is one line and its exit code, never a traceback."""
    try:
        app()
    except AutotuneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INCOMPLETE)
