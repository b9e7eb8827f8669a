"""What a format is, and what it is given. Imports no renderer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Page:
    """What a text is laid out for."""

    file: bool = False
    """For a file, whatever stdout is: no colours, and a fixed width."""
    ascii_only: bool = False
    """The stream takes no more: JSON escapes what is beyond, so that it stays JSON."""


Renderer = Callable[[Any, Page], str | bytes]
"""From a kind's view (what is printed, and how much of it) to the whole text, or to the bytes of a binary format."""


@dataclass(frozen=True)
class FormatInfo:
    """The ``ABOUT`` of a format's file."""

    extension: str
    """Of a file, with its dot."""
    rank: int
    """Where the format stands in lists; the lowest is the default."""
    renderers: Mapping[str, Renderer]
    """By the kind of result: ``run``, ``diff`` ...; a kind without one doesn't have this format."""
    binary: bool = False
    """Renderers return bytes, which go to a file and never to a terminal."""
    needs: tuple[str, ...] = ()
    """Packages that the base install lacks."""
    fix: str = ""
    """The command that brings them."""


def later(module: str, function: str) -> Renderer:
    """A renderer of ``autotune_cli.render.<module>``, which is imported when it is called."""

    def render(view: Any, page: Page) -> str | bytes:
        found: Renderer = getattr(import_module(f"autotune_cli.render.{module}"), function)
        return found(view, page)

    return render
