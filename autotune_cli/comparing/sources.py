"""What a side is: texts as typed become files, or folders that are stores of another program. What may be typed:
:mod:`autotune_cli.results.naming`."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from autotune_cli.comparing.foreign.formats import is_store, stores_below
from autotune_cli.errors import AutotuneError
from autotune_cli.results.naming import LISTED, WORDS, NoSuchResult, find, folders_below, json_files, results_in


class NoSuchSide(AutotuneError):
    """A side that is no file, no folder, no cache name and matches nothing."""

    template = "{side}: {text}: {detail}"


def side_files(side: str, texts: Sequence[str], root: Path, name: str | None = None) -> list[Path]:
    """The files of a side, each once, in the order they were named.

    Args:
        side: ``A`` or ``B``, for messages.
        texts: as typed.
        root: folder of ``cache/`` and ``runs/``.
        name: the result name that ``latest`` and ``previous`` mean; None: the newest run of any name.

    Raises:
        NoSuchSide: a text that names nothing; the message says what there is.
    """
    found: dict[str, Path] = {}
    for text in texts:
        for path in _files(side, text, root, name):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _files(side: str, text: str, root: Path, name: str | None) -> list[Path]:
    if text and "\0" not in text and text not in WORDS:
        if os.path.isdir(text):
            return _folder(side, Path(text))
        if not os.path.lexists(text) and glob.has_magic(text):
            matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
            if matches:
                return [
                    file for match in matches for file in (_folder(side, match) if os.path.isdir(match) else [match])
                ]
    try:
        return find(text, root, name)
    except NoSuchResult as error:
        raise NoSuchSide(side=side, **error.values) from None


def _folder(side: str, folder: Path) -> list[Path]:
    """Its results; without any, the folder itself if it is a store of another program, or any other JSON files; without
    those, the one store below."""
    try:
        if files := results_in(folder):
            return files
        if is_store(folder):
            return [folder]
        if files := json_files(folder):
            return files
        found = stores_below(folder)
    except OSError as error:
        raise NoSuchSide(side=side, text=folder, detail=(error.strerror or str(error)).lower()) from error
    if found is not None:
        format, stores = found
        if len(stores) == 1:
            return stores
        listed = ", ".join(format.described(store) for store in stores[:LISTED])
        more = f" and {len(stores) - LISTED} more" if len(stores) > LISTED else ""
        raise NoSuchSide(side=side, text=folder, detail=f"holds {len(stores)} {format.name}, name one: {listed}{more}")
    raise NoSuchSide(side=side, text=folder, detail=f"no result file in the folder{folders_below(folder)}")
