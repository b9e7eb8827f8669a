"""Older result files are upgraded on load, one schema version at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.results.schema import SCHEMA_VERSION

Document = dict[str, Any]

UPGRADES: dict[int, Callable[[Document], Document]] = {}
"""By version: turns a document of that version into the next one's. It need not set ``schema_version``."""


def upgrade(document: object, path: Path) -> tuple[Document, bool]:
    """A parsed file as the schema version this program writes, and whether anything was changed.

    Raises:
        NewerSchema: the file was written by a newer version.
        BadFile: no result file, no version in it, or one too old.
    """
    if not isinstance(document, dict):
        raise BadFile(path=path, detail="not a result file: the JSON is no object")
    if "schema_version" not in document:
        raise BadFile(path=path, detail="not a result file: it has no schema_version")
    version = document["schema_version"]
    if type(version) is not int:  # True is an int to isinstance
        raise BadFile(path=path, detail="schema_version: must be a whole number")
    if version > SCHEMA_VERSION:
        raise NewerSchema(path=path, found=version, known=SCHEMA_VERSION)
    changed = version != SCHEMA_VERSION
    while version != SCHEMA_VERSION:
        step = UPGRADES.get(version)
        if step is None:
            raise BadFile(path=path, detail=f"schema version {version} is unknown, this version reads {_readable()}")
        try:
            document = step(document)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # Nothing is validated yet, so an upgrade may trip over a file that was edited by hand.
            raise BadFile(
                path=path, detail=f"a damaged file of schema version {version}: {type(error).__name__}: {error}"
            ) from error
        version += 1
        document = {**document, "schema_version": version}
    return document, changed


def _readable() -> str:
    return ", ".join(str(version) for version in sorted({*UPGRADES, SCHEMA_VERSION}))
