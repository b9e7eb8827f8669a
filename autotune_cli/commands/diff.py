"""``autotune diff``: parse, compare, render, exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune_cli.commands.helping import HelpfulCommand, complete_words

if TYPE_CHECKING:
    from autotune_cli.comparing.outcome import Outcome
    from autotune_cli.comparing.records import Report

# Options that take several values up to the next option: --base a1.json a2.json.
_SEVERAL = ("--base", "--new")
FORMATS = ("table", "markdown", "json", "csv")
EXAMPLES = """
autotune diff previous latest
autotune diff main.json new.json --fail-on slower,choice --format markdown
"""
_SIDES = "What is compared"
_JUDGED = "What counts"
_PRINTED = "What is printed"


class DiffCommand(HelpfulCommand):
    """Lets ``--base`` and ``--new`` take several values, which click can't."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, several(args))


def several(args: list[str]) -> list[str]:
    """``--base a b --new c`` as ``--base a --base b --new c``."""
    result: list[str] = []
    option: str | None = None
    for index, arg in enumerate(args):
        if arg == "--":
            return [*result, *args[index:]]
        if arg in _SEVERAL:
            option = arg
            if index + 1 == len(args) or args[index + 1].startswith("-"):
                result.append(arg)  # click says that a value is missing
        elif arg.startswith("-") or option is None:
            option = None
            result.append(arg)
        else:
            result += [option, arg]
    return result


def diff(
    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B",
            help="Old and new: a result file, a folder (the newest run of each name in it), 'latest', 'previous', "
            "a cache name, a glob in quotes, or FlashInfer's autotuner cache. With --base only B.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="A, the old side; several are pooled as repeated sessions.", metavar="A...", rich_help_panel=_SIDES
        ),
    ] = None,
    new: Annotated[
        list[str] | None,
        typer.Option(
            help="B, the new side; several are pooled as repeated sessions.", metavar="B...", rich_help_panel=_SIDES
        ),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            help="A smaller change is no news. Never below the noise floors that the runs recorded.",
            metavar="PERCENT",
            rich_help_panel=_JUDGED,
        ),
    ] = "1%",
    fail_on: Annotated[
        str,
        typer.Option(
            help="What exit code 1 is for: slower, choice, status, ambiguous, none; commas between.",
            metavar="WORDS",
            rich_help_panel=_JUDGED,
        ),
    ] = "slower,status",
    allow_different: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare although this differs: gpu, mode, l2, timer, method; commas between.",
            metavar="WORDS",
            rich_help_panel=_JUDGED,
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, markdown, json or csv.",
            metavar="FORMAT",
            rich_help_panel=_PRINTED,
            autocompletion=complete_words(*FORMATS),
        ),
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(help="Write to this file instead of the terminal.", metavar="FILE", rich_help_panel=_PRINTED),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the ratios with their intervals: FILE.png or .svg.", metavar="FILE", rich_help_panel=_PRINTED
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show unchanged rows too.", rich_help_panel=_PRINTED)] = False,
    name: Annotated[
        str | None,
        typer.Option(help="The name whose runs 'latest' and 'previous' mean.", metavar="NAME", rich_help_panel=_SIDES),
    ] = None,
    root: Annotated[
        Path,
        typer.Option(
            envvar="AUTOTUNE_ROOT",
            help="Folder of cache/ and runs/.",
            show_default="current folder",
            metavar="FOLDER",
            rich_help_panel=_SIDES,
        ),
    ] = Path(),
) -> None:
    """What changed from A to B beyond noise: times, choices, and the ground they stand on. Needs no GPU.

    Exit code: 0 fine, 1 --fail-on found something, 2 bad usage or input, 3 not comparable or nothing in common,
    4 the output could not be written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    # Hardly anything below is ever garbage, and looking for some would take a third of the time.
    with _no_collection():
        from autotune_cli.commands.flags import outcome_with_flags, report_with_flags
        from autotune_cli.comparing.ground import allowed_fields
        from autotune_cli.comparing.loading import load_side
        from autotune_cli.comparing.outcome import fail_on as parse_fail_on
        from autotune_cli.comparing.outcome import outcome
        from autotune_cli.comparing.report import compare
        from autotune_cli.comparing.sources import side_files
        from autotune_cli.comparing.verdicts import Rule
        from autotune_cli.errors import UnknownName
        from autotune_cli.render.diff_plot import check_plot
        from autotune_cli.render.diff_plot import plot as draw

        if format not in FORMATS:
            raise UnknownName("format", format, FORMATS)
        if plot is not None:
            check_plot(plot)
        rule = Rule(threshold=parse_threshold(threshold))
        failures = parse_fail_on(fail_on)
        allowed = allowed_fields(allow_different or ())
        texts = split_sides(sides or [], base or [], new or [])
        files = [side_files(side, side_texts, root, name) for side, side_texts in zip("AB", texts, strict=True)]
        report = report_with_flags(compare(load_side(files[0]), load_side(files[1]), rule, allowed))
        result = outcome_with_flags(outcome(report, failures))
        _show(report, result, format, output, every)
        if plot is not None:
            draw(report, plot)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cyclic garbage collector, which would walk over all that was read again and again."""
    import gc

    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def split_sides(sides: list[str], base: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """What A and B are: ``A B``, ``B --base A``, ``A --new B``, or ``--base A --new B``.

    Raises:
        AutotuneError: too few, too many, or it can't be told which is which.
    """
    from autotune_cli.errors import AutotuneError, BadField

    if base and new:
        if sides:
            raise AutotuneError(detail=f"{sides[0]}: a third side beside --base and --new")
        return base, new
    if base or new:
        given, other = ("base", "new") if base else ("new", "base")
        if not sides:
            raise BadField(
                field=given,
                detail=f"the other side is missing: name it with --{other}, or in front of --{given}",
            )
        if len(sides) > 1:
            raise BadField(field=given, detail=f"the other side is {len(sides)} arguments: use --{other} for several")
        return (base, sides) if base else (sides, new)
    if len(sides) != 2:
        found = f"{len(sides)} sides are named" if sides else "no side is named"
        raise AutotuneError(detail=f"diff: {found}: autotune diff A B, or --base A... --new B...")
    return [sides[0]], [sides[1]]


def parse_threshold(text: str) -> float:
    """A share of ``1%``, ``1 %`` or ``0.01``; below 1 (100 %).

    Raises:
        BadField: anything else.
    """
    from autotune_cli.errors import BadField

    number = text.strip()
    percent = number.endswith("%")
    try:
        value = float(number.removesuffix("%")) / (100.0 if percent else 1.0)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < 1.0:
        raise BadField(field="threshold", detail=f"{text!r} is no share; write 1% or 0.01")
    return value


def _show(report: Report, result: Outcome, format: str, output: Path | None, every: bool) -> None:
    """Print or write the report in one of ``FORMATS``."""
    import io
    import sys

    from autotune_cli.plain_text import shown
    from autotune_cli.streams import stdout_is_unicode

    if format == "table":
        from autotune_cli.render.console import Console
        from autotune_cli.render.diff_table import print_diff

        console = Console()
        if output is None and console.is_terminal:
            print_diff(console, report, result, every)
            return
        stream = io.StringIO()
        print_diff(Console(file=stream, width=160), report, result, every)
        # Tables are padded to their width.
        text = "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())
    elif format == "markdown":
        from autotune_cli.render.diff_markdown import markdown

        text = markdown(report, result, every)
    else:
        from autotune_cli.render.diff_data import as_csv, as_json

        ascii_only = output is None and not stdout_is_unicode()
        text = as_json(report, result, ascii_only) if format == "json" else as_csv(report)
    if output is not None:
        from autotune_cli.results.files import write_atomic

        write_atomic(output, text)
        print(shown(f"wrote {output}; exit {result.exit_code}: {result.words}"), file=sys.stderr)
        return
    print(text, end="", flush=True)
