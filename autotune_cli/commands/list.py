"""``autotune list``: what results there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune_cli.commands.options import shared

EXAMPLES = """
autotune list
autotune list --root ~/tuning --format json
"""


@dataclass(frozen=True)
class ListOptions:
    """Where, and how it is printed."""

    format: shared.ResultsFormat = "table"
    output: shared.Output = None
    root: shared.Root = Path()


def list_results(options: ListOptions) -> None:
    """List the results in cache/ and runs/: device, workloads, and what was gained over the default. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 4 the output could not be written, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from autotune_cli.commands.printing import check_format, check_writable, write_result
    from autotune_cli.render.results_formats import ResultsView
    from autotune_cli.results.overview import overviews

    check_format("results", options.format, options.output)
    check_writable(options.output)
    write_result("results", options.format, ResultsView(str(options.root), overviews(options.root)), options.output)
