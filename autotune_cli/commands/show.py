"""``autotune show``: print a result file again."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Annotated

import typer


def show(
    file: Annotated[Path, typer.Argument(help="A file of cache/ or runs/.")],
    every: Annotated[bool, typer.Option("--all", help="Show every candidate of every workload.")] = False,
    baseline: Annotated[
        str | None, typer.Option(help="What the table's speed-ups are over, one of the file's baselines.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture of the terminal to this SVG file too.")] = None,
) -> None:
    """Print a result file as 'autotune tune' did. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 4 the output could not be written, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from autotune_cli.errors import UnknownName
    from autotune_cli.plain_text import shown
    from autotune_cli.render.baselines import names
    from autotune_cli.render.console import Console
    from autotune_cli.render.plain_records import shown_record
    from autotune_cli.render.summary import print_run
    from autotune_cli.results.files import read_run, write_atomic

    # As it is shown below.
    run = shown_record(read_run(file))
    if baseline is not None:
        known = names(run.workloads)
        baseline = " ".join(baseline.split())
        if baseline not in known:
            raise UnknownName("baseline of this file", baseline, known)
    output = Console()
    if not output.is_terminal:
        output = Console(width=160)
    print_run(output, run, every, baseline)
    if svg is not None:
        # Wide enough for the longest row; what is recorded goes to the picture, not to the terminal.
        recorder = Console(record=True, width=168, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        print_run(recorder, run, every, baseline)
        picture = recorder.export_svg(title=shown(" ".join(run.command) or f"autotune show {file}"))
        # rich names fonts on a public server; a picture in a repository must not fetch anything.
        write_atomic(svg, re.sub(r"@font-face\s*{.*?}\s*", "", picture, flags=re.DOTALL))
