"""Rows that are too wide for the terminal: the name on a line of its own, and below it, indented, the rest. Nothing is
cut; what is longer than a line goes on in the next, at a space where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

INDENT = 2


@dataclass(frozen=True)
class Record:
    """One row: what it is of, and the lines below."""

    head: Text
    details: Sequence[Text] = ()
    style: str = ""


def folded(records: Sequence[Record], title: Text | None = None) -> RenderableType:
    """The records one below the other."""
    lines: list[RenderableType] = [] if title is None else [title]
    for record in records:
        lines.append(_styled(record.head, record.style))
        for detail in record.details:
            if detail.plain:
                lines.append(Padding(_styled(detail, record.style), (0, 0, 0, INDENT), expand=False))
    return Group(*lines)


def _styled(text: Text, style: str) -> Text:
    return Text(style=style).append_text(text) if style else text
