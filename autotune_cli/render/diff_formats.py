"""A comparison in each format."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.comparing.exit_status import ExitStatus
from autotune_cli.comparing.records import Report
from autotune_cli.render.formats import Page


@dataclass(frozen=True)
class DiffView:
    """A comparison, and how much of it is printed."""

    report: Report
    status: ExitStatus
    every: bool = False
    """Unchanged rows too."""


def diff_table(view: DiffView, page: Page) -> str:
    from autotune_cli.render.console import drawn
    from autotune_cli.render.diff_table import print_diff

    return drawn(lambda console: print_diff(console, view.report, view.status, view.every), page, padded=False)


def diff_markdown(view: DiffView, page: Page) -> str:
    from autotune_cli.render.diff_markdown import markdown

    return markdown(view.report, view.status, view.every)


def diff_json(view: DiffView, page: Page) -> str:
    from autotune_cli.render.diff_data import as_json

    return as_json(view.report, view.status, page.ascii_only)


def diff_csv(view: DiffView, page: Page) -> str:
    from autotune_cli.render.diff_data import as_csv

    return as_csv(view.report)
