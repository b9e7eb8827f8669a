"""rich's console, as everything here prints: what others wrote is text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from autotune_cli.plain_text import shown_lines


class Console(rich.console.Console):
    """Reads neither markup (``[red]``) nor emoji (``:fire:``) into a text, and sends no character that terminals obey.

    It escapes what is laid out already, where an escape makes a cell wider. So whoever puts a foreign text into a cell
    applies :func:`autotune_cli.plain_text.shown` before; but nothing gets past here.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Control segments are rich's own.
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(shown_lines(segment.text), segment.style)
