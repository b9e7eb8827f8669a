"""The formats of logs: a file each, found by what it recognises (docs/contributing.md, "Adding a log format")."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from autotune_cli.traffic.formats.base import Format, Reading, Recorded
from autotune_cli.traffic.log import Log
from autotune_cli.traffic.source import Source

_NO_FORMAT = ("base",)


@cache
def formats() -> tuple[Format, ...]:
    """All, in the order in which they are asked."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_FORMAT]
    found: list[Format] = [
        importlib.import_module(f"{__name__}.{name}").FORMAT for name in names if not name.startswith("_")
    ]
    return tuple(sorted(found, key=lambda each: each.rank))


def read_log(source: Source, reading: Reading) -> Log | Recorded:
    """What is in a log.

    Raises:
        BadTraffic: nothing, no format that is known, or something in it that can't be what a server did.
    """
    if not source.head.strip():
        # A gzip file that is damaged at its very beginning says so here.
        if next(source.lines(), None) is None:
            raise source.bad("is empty")
        raise source.bad("begins with nothing but blanks")
    for each in formats():
        if each.recognises(source.head):
            return each.read(source, reading)
    known = "; ".join(each.about for each in formats())
    raise source.bad(f"is no log that is known. Accepted: {known}")
