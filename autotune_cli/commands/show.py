"""``autotune show``: print a result file again."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autotune_cli.results.schema import RunFile

EXAMPLES = """
autotune show llama-3.1-8b
autotune show cache/llama-3.1-8b.json --device h200 --all
"""
FORMATS = ("table", "json", "csv", "markdown")


def show(
    file: Annotated[
        str,
        typer.Argument(
            metavar="RESULT",
            help="'latest', 'previous', a cache name, a run's name, or a file. Default: the latest run.",
            show_default=False,
        ),
    ] = "latest",
    every: Annotated[bool, typer.Option("--all", help="Show every candidate of every workload.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(help="What the table's speed-ups are over, one of the file's baselines.", metavar="BASELINE"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Of a file with several devices, this one: a part of its name, such as h200.", metavar="NAME"
        ),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Write the picture of the terminal to this SVG file too.", metavar="FILE")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, json (as 'tune --json'), csv or markdown.", metavar="FORMAT")
    ] = "table",
    name: Annotated[
        str | None, typer.Option(help="The name whose runs 'latest' and 'previous' mean.", metavar="NAME")
    ] = None,
    root: Annotated[
        Path,
        typer.Option(
            envvar="AUTOTUNE_ROOT", help="Folder of cache/ and runs/.", show_default="current folder", metavar="FOLDER"
        ),
    ] = Path(),
) -> None:
    """Print a result file as 'autotune tune' did. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 4 the output could not be written, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from rich.text import Text

    from autotune_cli.errors import UnknownName
    from autotune_cli.plain_text import shown
    from autotune_cli.render.baselines import names
    from autotune_cli.render.console import Console
    from autotune_cli.render.devices import of_device
    from autotune_cli.render.plain_records import shown_record
    from autotune_cli.render.summary import print_run
    from autotune_cli.results.files import read_run, write_atomic
    from autotune_cli.results.integrity import doubts
    from autotune_cli.results.naming import find_one

    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    path = find_one(file, root, name)
    read = read_run(path)
    errors = Console(stderr=True)
    for line in doubts(read):
        # On a terminal folded at spaces; in a file or a pipe a line stays whole.
        note = Text(f"note: {shown(str(path))}: {shown(line)}", style="yellow")
        errors.print(note, soft_wrap=not errors.is_terminal)
    if device is not None:
        read = of_device(read, device)
    # As it is shown below.
    run = shown_record(read)
    if baseline is not None:
        known = names(run.workloads)
        baseline = " ".join(baseline.split())
        if baseline not in known:
            raise UnknownName("baseline of this file", baseline, known)
    if form == "table":
        output = Console()
        print_run(output if output.is_terminal else Console(width=160), run, every, baseline)
    else:
        print(_text(form, path, read, every, baseline).rstrip("\n"))
    if svg is not None:
        # Wide enough for the longest row; what is recorded goes to the picture, not to the terminal.
        recorder = Console(record=True, width=168, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        print_run(recorder, run, every, baseline)
        picture = recorder.export_svg(title=shown(" ".join(run.command) or f"autotune show {path}"))
        # rich names fonts on a public server; a picture in a repository must not fetch anything.
        write_atomic(svg, re.sub(r"@font-face\s*{.*?}\s*", "", picture, flags=re.DOTALL))


def _text(form: str, path: Path, run: RunFile, every: bool, baseline: str | None) -> str:
    from autotune_cli.plain_text import json_text
    from autotune_cli.render.run_data import run_csv, summary
    from autotune_cli.render.run_markdown import run_markdown
    from autotune_cli.streams import stdout_is_unicode

    if form == "json":
        return json_text(summary(path, run), ascii_only=not stdout_is_unicode())
    return run_csv(run) if form == "csv" else run_markdown(run, every, baseline)
