"""The formats in which commands print results: found by the kind of result and the format's name.

A renderer takes the kind's view (what is printed, and how much of it) and a :class:`Page`, and returns the whole text.
Its module is imported when it is called: ``--help`` lists names and loads no renderer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from autotune_cli.errors import UnknownName


@dataclass(frozen=True)
class Page:
    """What a text is laid out for."""

    file: bool = False
    """For a file, whatever stdout is: no colours, and a fixed width."""
    ascii_only: bool = False
    """The stream takes no more: JSON escapes what is beyond, so that it stays JSON."""


@dataclass(frozen=True)
class Format:
    """One way to write one kind of result."""

    name: str
    extension: str
    """Of a file, with its dot."""
    render: Callable[[Any, Page], str]


def find_format(kind: str, name: str) -> Format:
    """Raises :class:`UnknownName` for a format that results of this kind don't have."""
    for found in FORMATS[kind]:
        if found.name == name:
            return found
    raise UnknownName("format", name, format_names(kind))


def format_names(kind: str) -> tuple[str, ...]:
    """The default first."""
    return tuple(found.name for found in FORMATS[kind])


def _later(module: str, function: str) -> Callable[[Any, Page], str]:
    """A renderer of ``autotune_cli.render.<module>``."""
    return lambda view, page: str(getattr(import_module(f"autotune_cli.render.{module}"), function)(view, page))


_TABLE, _MARKDOWN, _JSON, _CSV = ("table", ".txt"), ("markdown", ".md"), ("json", ".json"), ("csv", ".csv")
FORMATS: dict[str, tuple[Format, ...]] = {
    kind: tuple(Format(*row, _later(f"{kind}_formats", f"{kind}_{row[0]}")) for row in rows)
    for kind, rows in {
        "run": (_TABLE, _JSON, _CSV, _MARKDOWN, ("svg", ".svg")),
        "diff": (_TABLE, _MARKDOWN, _JSON, _CSV),
        "profile": (_TABLE, _MARKDOWN, _JSON, _CSV),
        "listing": (_TABLE, _MARKDOWN, _JSON, _CSV),
        "kernels": (_TABLE, _MARKDOWN, _JSON, _CSV),
    }.items()
}
"""By kind of result: of tune and show, of diff, of profile with a verdict and without one, of kernels."""
