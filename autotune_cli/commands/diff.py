"""``autotune diff``: compare, print, exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autotune_cli.commands.options.diff import DiffOptions

EXAMPLES = """
autotune diff previous latest
autotune diff main.json new.json --fail-on slower,choice --format markdown
"""


def diff(options: DiffOptions) -> None:
    """What changed from A to B beyond noise: times, choices, and the environment behind them. Needs no GPU.

    Exit code: 0 fine, 1 --fail-on found something, 2 bad usage or input, 3 not comparable or nothing in common,
    4 the output could not be written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    # Hardly anything below is ever garbage, and looking for some would take a third of the time.
    with _no_collection():
        code = _compare(options)
    if code:
        raise typer.Exit(code)


def _compare(options: DiffOptions) -> int:
    """Compares, prints and draws. Returns the exit code."""
    from autotune_cli.commands.diff_sides import split_sides
    from autotune_cli.commands.flags import report_with_flags, status_with_flags
    from autotune_cli.commands.printing import check_format, check_no_input, check_writable, write_result
    from autotune_cli.comparing.decisions import DecisionRule
    from autotune_cli.comparing.environment import allowed_fields
    from autotune_cli.comparing.exit_status import exit_status
    from autotune_cli.comparing.loading import load_side
    from autotune_cli.comparing.report import compare
    from autotune_cli.comparing.sources import side_files
    from autotune_cli.comparing.verdicts import FailOn
    from autotune_cli.render.diff_formats import DiffView
    from autotune_cli.render.diff_plot import check_plot
    from autotune_cli.render.diff_plot import plot as draw

    if options.plot is not None:
        check_plot(options.plot)
    check_format("diff", options.format, options.output)
    check_writable(options.output)
    rule = DecisionRule(threshold=options.threshold)
    allowed = allowed_fields(options.allow_different or ())
    texts = split_sides(options.sides or [], options.base or [], options.new or [])
    a, b = [side_files(side, named, options.root, options.name) for side, named in zip("AB", texts, strict=True)]
    check_no_input(options.output, *a, *b)
    check_no_input(options.plot, *a, *b, field="plot")
    report = report_with_flags(compare(load_side(a), load_side(b), rule, allowed))
    status = status_with_flags(exit_status(report, [each for each in FailOn if each in options.fail_on]))
    told = f"exit {status.exit_code}: {status.words}"
    write_result("diff", options.format, DiffView(report, status, options.every), options.output, told)
    if options.plot is not None:
        draw(report, options.plot)
    return status.exit_code


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
