"""A run in each format."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune_cli.plain_text import json_text, markdown, shown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.formats import Page
from autotune_cli.render.run_data import run_csv as rows
from autotune_cli.render.run_data import summary
from autotune_cli.render.run_markdown import run_markdown as document
from autotune_cli.render.summary import print_run
from autotune_cli.results.schema import RunFile


@dataclass(frozen=True)
class RunView:
    """A run, and how much of it is printed."""

    path: Path
    run: RunFile
    every: bool = False
    """Each workload's candidates too."""
    baseline: str | None = None
    """What speed-ups are over; None: each workload's default."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """More of the JSON document."""
    lines: Sequence[str] = ()
    """Sentences below the Markdown tables."""
    below: Callable[[Console], None] | None = None
    """Prints what stands below the table."""


def run_table(view: RunView, page: Page) -> str:
    def draw(console: Console) -> None:
        print_run(console, view.run, view.every, view.baseline)
        if view.below is not None:
            view.below(console)

    return drawn(draw, page)


def run_svg(view: RunView, page: Page) -> str:
    """A picture of a terminal that shows the table, wide enough for the longest row."""
    recorder = Console(record=True, width=168, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    print_run(recorder, view.run, view.every, view.baseline)
    picture = recorder.export_svg(title=shown(" ".join(view.run.command) or f"autotune show {view.path}"))
    # rich names fonts on a public server; a picture in a repository must not fetch anything.
    return re.sub(r"@font-face\s*{.*?}\s*", "", picture, flags=re.DOTALL)


def run_json(view: RunView, page: Page) -> str:
    return json_text({**summary(view.path, view.run), **view.fields}, page.ascii_only) + "\n"


def run_csv(view: RunView, page: Page) -> str:
    return rows(view.run)


def run_markdown(view: RunView, page: Page) -> str:
    text = document(view.run, view.every, view.baseline).rstrip("\n") + "\n"
    below = "".join(f"- {markdown(line, begins=True)}\n" for line in view.lines)
    return f"{text}\n{below}" if below else text
