"""rich's console, as everything here prints: what others wrote is text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from autotune_cli.plain_text import shown, shown_lines
from autotune_cli.render.formats import Page

_SIZES = ("COLUMNS", "LINES")
_WIDEST = 10_000
# Columns of a table in a pipe or a file.
_WIDTH = 240


class Console(rich.console.Console):
    """Reads neither markup (``[red]``) nor emoji (``:fire:``) into a text, and sends no character that terminals obey.

    It escapes what is laid out already, where an escape makes a cell wider. So whoever puts a foreign text into a cell
    applies :func:`autotune_cli.plain_text.shown` before; but nothing gets past here.
    """

    def __init__(self, **options: Any) -> None:
        # rich takes any COLUMNS of digits, of which some are no numbers and some would fill the memory with blanks.
        environ = {name: value for name, value in os.environ.items() if name not in _SIZES or _is_size(value)}
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, "_environ": environ, **options})

    def say(self, text: str, style: str = "", whole: bool = False) -> None:
        """Print a line with others' texts in it. On a terminal it is folded at spaces, unless it is ``whole``, to be
        copied; a file's or a pipe's lines stay whole.
        """
        self.print(Text(shown(text), style=style), soft_wrap=whole or not self.is_terminal)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Control segments are rich's own.
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(shown_lines(segment.text), segment.style)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= _WIDEST


def drawn(draw: Callable[[Console], None], page: Page, padded: bool = True) -> str:
    """The text that ``draw`` prints: on a terminal as wide as that and with colours, else plain and 240 columns wide.

    Args:
        padded: a table's rows may end with blanks where it is no terminal's.
    """
    console = Console()
    terminal = console.is_terminal and not page.file
    if not terminal:
        console = Console(width=_WIDTH, force_terminal=False)
    with console.capture() as captured:
        draw(console)
    text = captured.get()
    return text if terminal or padded else "".join(f"{line.rstrip()}\n" for line in text.splitlines())
