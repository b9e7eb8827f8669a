"""The formats of foreign files. docs/contributing.md says how to add one."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices
from autotune_cli.comparing.foreign.flashinfer_cache import FlashinferCache
from autotune_cli.comparing.foreign.flashinfer_store import FlashinferStore
from autotune_cli.comparing.foreign.format import FileFormat, StoreFormat
from autotune_cli.errors import BadFile

# The first that recognises a file reads it.
FORMATS: tuple[FileFormat, ...] = (
    FlashinferStore(),
    FlashinferCache(),
)
STORES: tuple[StoreFormat, ...] = tuple(each for each in FORMATS if isinstance(each, StoreFormat))


def read_document(document: object, path: Path) -> ForeignChoices | None:
    """The choices of a parsed JSON document; None: no format recognises it.

    Raises:
        BadFile: it is recognised and damaged.
    """
    return next((each.read(document, path) for each in FORMATS if each.recognises(document, path)), None)


def read_folder(folder: Path) -> ForeignChoices:
    """The choices of a folder that is a store.

    Raises:
        BadFile: it is none, or damaged.
    """
    for each in STORES:
        if each.is_store(folder):
            return each.read_store(folder)
    raise BadFile(path=folder, detail="a folder, and no store of choices")


def is_store(folder: Path) -> bool:
    """Does a folder look like a store of any format?"""
    return any(each.is_store(folder) for each in STORES)


def stores_below(folder: Path) -> tuple[StoreFormat, list[Path]] | None:
    """The stores below a folder, of the first format that finds any."""
    for each in STORES:
        if found := each.stores_below(folder):
            return each, found
    return None
