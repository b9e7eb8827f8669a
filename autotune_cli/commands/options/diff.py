"""The options of ``autotune diff``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.declaring import Said
from autotune_cli.commands.helping import complete_last
from autotune_cli.commands.kinds import Share, Words
from autotune_cli.commands.options import shared

_SIDES = "What is compared"
_JUDGED = "What counts"
_PRINTED = "What is printed"


def _failures(text: str) -> frozenset[str]:
    from autotune_cli.comparing.exit_status import fail_on

    return fail_on(text)


def _complete_failures(incomplete: str) -> list[str]:
    from autotune_cli.comparing.exit_status import NEVER
    from autotune_cli.comparing.verdicts import FailOn

    return complete_last(incomplete, (*map(str, FailOn), *(() if "," in incomplete else (NEVER,))))


@dataclass(frozen=True)
class DiffOptions:
    """The two sides, what counts as a change, and how it is printed."""

    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B",
            help="Old and new: a result file, a folder (the newest run of each name in it), 'latest', 'previous', "
            "a cache name, a glob in quotes, or FlashInfer's autotuner cache. With --base only B.",
            show_default=False,
        ),
    ] = None
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="A, the old side; several are pooled as repeated sessions.", metavar="A...", rich_help_panel=_SIDES
        ),
    ] = None
    new: Annotated[
        list[str] | None,
        typer.Option(
            help="B, the new side; several are pooled as repeated sessions.", metavar="B...", rich_help_panel=_SIDES
        ),
    ] = None
    threshold: Annotated[
        float,
        typer.Option(
            help="A smaller change is no news. Never below the noise bands that the runs recorded.",
            metavar="PERCENT",
            rich_help_panel=_JUDGED,
        ),
        Share(),
    ] = 0.01
    """A share."""
    fail_on: Annotated[
        frozenset[str],
        typer.Option(
            help="What exit code 1 is for: slower, choice, status, ambiguous, none; commas between.",
            metavar="WORDS",
            rich_help_panel=_JUDGED,
            autocompletion=_complete_failures,
        ),
        Words(_failures),
    ] = frozenset({"slower", "status"})
    allow_different: Annotated[shared.AllowDifferent, Said(_JUDGED)] = None
    format: Annotated[shared.DiffFormat, Said(_PRINTED)] = "table"
    output: Annotated[shared.Output, Said(_PRINTED)] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the ratios with their intervals: FILE.png or .svg.", metavar="FILE", rich_help_panel=_PRINTED
        ),
    ] = None
    every: Annotated[shared.Every, Said(_PRINTED, "Show unchanged rows too.")] = False
    name: Annotated[shared.OfName, Said(_SIDES)] = None
    root: Annotated[shared.Root, Said(_SIDES)] = Path()
