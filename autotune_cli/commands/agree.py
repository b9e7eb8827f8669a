"""``autotune agree``: did the ranks of a deployment choose the same kernels?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.kinds import Share
from autotune_cli.commands.options import shared

EXAMPLES = """
autotune agree rank0.json rank1.json rank2.json rank3.json
autotune agree 'ranks/*.json' --format markdown
"""


@dataclass(frozen=True)
class AgreeOptions:
    """The ranks, what counts as a difference, and how it is printed."""

    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B...",
            help="Result files, one a rank or card, in their order; a folder (the newest run of each name in it) or a "
            "glob in quotes.",
            show_default=False,
        ),
    ] = None
    threshold: Annotated[
        float,
        typer.Option(
            help="A winner that gains less is no news. Never below the noise bands that the runs recorded.",
            metavar="PERCENT",
        ),
        Share(),
    ] = 0.01
    """A share."""
    allow_different: shared.AllowDifferent = None
    every: Annotated[bool, typer.Option("--all", help="Show workloads in which all choose alike, too.")] = False
    format: shared.AgreeFormat = "table"
    output: shared.Output = None
    root: shared.Root = Path()


def agree(options: AgreeOptions) -> None:
    """Did the ranks or cards of one deployment choose the same kernels? If not, which is off, and where. Needs no GPU.

    Exit code: 0 they agree, within the ties, 1 they don't, 2 bad usage or input, 3 not comparable or nothing in
    common, 4 the output could not be written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.flags import with_flags
    from autotune_cli.commands.printing import check_format, check_no_input, check_writable, write_result
    from autotune_cli.comparing.agreement import agree as hold_together
    from autotune_cli.comparing.environment import allowed_fields
    from autotune_cli.comparing.loading import load
    from autotune_cli.errors import AutotuneError, BadFile
    from autotune_cli.render.agree_formats import AgreeView
    from autotune_cli.results.naming import find
    from autotune_cli.results.schema import RunFile

    check_format("agree", options.format, options.output)
    check_writable(options.output)
    allowed = allowed_fields(options.allow_different or ())
    paths = _ranks([path for text in options.files or () for path in find(text, options.root)])
    if len(paths) < 2:
        found = f"{paths[0]} is the only file that is named" if paths else "no file is named"
        raise AutotuneError(detail=f"agree: {found}: autotune agree A.json B.json ..., one a rank")
    check_no_input(options.output, *paths)
    files: list[tuple[Path, RunFile]] = []
    for path in paths:
        content = load(path).content
        if not isinstance(content, RunFile):
            raise BadFile(path=path, detail=f"a {content.program} cache; agree takes results of 'autotune tune'")
        files.append((path, content))
    found_here = hold_together(files, options.threshold, allowed)
    if found_here.refusal is not None:
        found_here = replace(found_here, refusal=with_flags(found_here.refusal))
    told = f"exit {found_here.exit_code}: {found_here.words}"
    write_result("agree", options.format, AgreeView(found_here, options.every), options.output, told)
    if found_here.exit_code:
        raise typer.Exit(found_here.exit_code)


def _ranks(paths: list[Path]) -> list[Path]:
    """The files by rank.

    Raises:
        AutotuneError: one is there twice. Dropped, ranks after it would have other numbers; and the file that was meant
            instead would be no part of the verdict.
    """
    import os

    from autotune_cli.errors import AutotuneError

    ranks: dict[str, int] = {}
    for rank, path in enumerate(paths):
        first = ranks.setdefault(os.path.realpath(path), rank)
        if first != rank:
            text = f"agree: {path} is named twice, as rank {first} and as rank {rank}: name each rank's file once"
            raise AutotuneError(detail=text)
    return paths
