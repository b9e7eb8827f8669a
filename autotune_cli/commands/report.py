"""``autotune report``: results as a page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune_cli.commands.options import shared

if TYPE_CHECKING:
    from autotune_cli.results.schema import RunFile

EXAMPLES = """
autotune report llama-3.1-8b -o report.html
autotune report main.json new.json --baseline sglang
"""


@dataclass(frozen=True)
class ReportOptions:
    """Which results, and where the page goes."""

    result: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="'latest', 'previous', a cache name, a run's name, or a file. Default: the latest run.",
            show_default=False,
        ),
    ] = "latest"
    newer: Annotated[
        str | None,
        typer.Argument(metavar="B", help="A second one: what changed from A to it comes first.", show_default=False),
    ] = None
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.", metavar="FILE")] = Path("report.html")
    baseline: Annotated[
        str | None,
        typer.Option(help="What the speed-ups are over in the first place, one of A's or B's.", metavar="BASELINE"),
    ] = None
    device: shared.OfDevice = None
    name: shared.OfName = None
    root: shared.Root = Path()


def report(options: ReportOptions) -> None:
    """Make an HTML page of a result, or of two and what changed: figures, tables, a filter. Needs no GPU, no network.

    Exit code: 0 fine, 2 bad usage or input, 3 A and B are not comparable (the page says why, and has both), 4 the page
    could not be written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.printing import check_writable
    from autotune_cli.report.plotting import check_packages

    check_writable(options.output)
    check_packages()
    code = _write(options)
    if code:
        raise typer.Exit(code)


def _write(options: ReportOptions) -> int:
    """Writes the page. Returns the exit code."""
    import sys

    from autotune_cli.commands.flags import report_with_flags
    from autotune_cli.commands.printing import check_no_input
    from autotune_cli.comparing.decisions import DecisionRule
    from autotune_cli.comparing.loading import LoadedFile
    from autotune_cli.comparing.report import compare
    from autotune_cli.errors import EXIT_NOT_COMPARABLE, EXIT_OK
    from autotune_cli.plain_text import shown
    from autotune_cli.report.changes import changes_of
    from autotune_cli.report.making import make_page
    from autotune_cli.report.page import page_html
    from autotune_cli.report.plotting import plotting_script
    from autotune_cli.results.atomic import write_atomic
    from autotune_cli.results.files import read_run
    from autotune_cli.results.naming import find_one

    named = [options.result, *([] if options.newer is None else [options.newer])]
    paths = [find_one(text, options.root, options.name) for text in named]
    check_no_input(options.output, *paths)
    files = [(path, _of_device(read_run(path), options.device)) for path in paths]
    baseline = None if options.baseline is None else _known(options.baseline, [run for _, run in files])
    changes = None
    if len(files) == 2:
        a, b = ([LoadedFile(path, run)] for path, run in files)
        changes = changes_of(report_with_flags(compare(a, b, DecisionRule())))
    page = make_page(files, changes, baseline)
    write_atomic(options.output, page_html(page, plotting_script()))
    refused = changes is not None and changes.refusal is not None
    told = f"; not comparable: {changes.refusal}" if changes is not None and refused else ""
    print(shown(f"wrote {options.output}{told}"), file=sys.stderr)
    return EXIT_NOT_COMPARABLE if refused else EXIT_OK


def _of_device(run: RunFile, device: str | None) -> RunFile:
    from autotune_cli.render.devices import of_device

    return run if device is None else of_device(run, device)


def _known(baseline: str, runs: Sequence[RunFile]) -> str:
    """The baseline's name as the page has it.

    Raises:
        UnknownName: none of the files has such a baseline.
    """
    from autotune_cli.errors import UnknownName
    from autotune_cli.render.baselines import names
    from autotune_cli.render.plain_records import shown_record

    known = list(dict.fromkeys(name for run in runs for name in names(shown_record(run).workloads)))
    name = " ".join(baseline.split())
    if name not in known:
        raise UnknownName("baseline of this file", name, known)
    return name
