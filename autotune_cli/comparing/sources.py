"""What a side is: texts as typed become files, or folders that are stores of FlashInfer's. A file, a folder,
``latest``, ``previous``, a cache name, a glob."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from autotune_cli.comparing.flashinfer_store import described, is_store, stores_below
from autotune_cli.comparing.refusals import NoSuchSide
from autotune_cli.errors import nearest
from autotune_cli.results.runs import RUNS, RunName, latest, previous, run_name

WORDS = ("latest", "previous")
_WILD = frozenset("*?[")
# How many names of what is there an error lists.
_LISTED = 8


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
    if "\0" in text or not text:
        raise NoSuchSide(side=side, text=repr(text), detail="is no name of a file")
    if text in WORDS:
        return [_by_word(side, text, root, name)]
    path = Path(text)
    if os.path.isdir(path):
        return _folder(side, path)
    if os.path.lexists(path):
        return [path]
    if _WILD & set(text):
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
        if not matches:
            raise NoSuchSide(side=side, text=text, detail="no file matches")
        return [file for match in matches for file in (_folder(side, match) if os.path.isdir(match) else [match])]
    cached = _caches(root) / f"{text}.json"
    if "/" not in text and os.path.exists(cached):
        return [cached]
    raise NoSuchSide(side=side, text=text, detail=_what_there_is(text, root))


def _by_word(side: str, word: str, root: Path, name: str | None) -> Path:
    path = latest(root, name) if word == "latest" else previous(root, name)
    if path is not None:
        return path
    of_name = f" of {name!r}" if name else ""
    if word == "previous" and (only := latest(root, name)) is not None:
        raise NoSuchSide(side=side, text=word, detail=f"{only} is the only run of its name")
    raise NoSuchSide(
        side=side, text=word, detail=f"no run{of_name} in {root / RUNS}; 'autotune tune --no-cache' makes one"
    )


def _folder(side: str, folder: Path) -> list[Path]:
    """The newest run of each name in a folder or in its ``runs/``; without runs, caches, a store of FlashInfer's or any
    other JSON files; without those, the one store below."""
    try:
        for inside in (folder, folder / RUNS):
            runs = newest_of_each(inside.glob("*.json"))
            if runs:
                return runs
        if files := _json_files(_caches(folder)):
            return files
        if is_store(folder):
            return [folder]
        if files := _json_files(folder):
            return files
        stores = stores_below(folder)
    except OSError as error:
        raise NoSuchSide(side=side, text=folder, detail=(error.strerror or str(error)).lower()) from error
    if len(stores) == 1:
        return stores
    if stores:
        listed = ", ".join(described(store) for store in stores[:_LISTED])
        more = f" and {len(stores) - _LISTED} more" if len(stores) > _LISTED else ""
        raise NoSuchSide(
            side=side, text=folder, detail=f"holds {len(stores)} FlashInfer stores, name one: {listed}{more}"
        )
    below = sorted({str(path.parent) for path in folder.glob("*/*.json")})[:_LISTED]
    hint = f"; did you mean {', '.join(below)}?" if below else ""
    raise NoSuchSide(side=side, text=folder, detail=f"no result file in the folder{hint}")


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith(".") and path.is_file())


def newest_of_each(paths: Iterable[Path]) -> list[Path]:
    """The newest run of each name, by name."""
    newest: dict[str, tuple[RunName, Path]] = {}
    for path in paths:
        parts = run_name(path)
        if parts is not None and (
            parts.name not in newest
            or (parts.stamp, parts.number) > (newest[parts.name][0].stamp, newest[parts.name][0].number)
        ):
            newest[parts.name] = parts, path
    return [newest[name][1] for name in sorted(newest)]


def _what_there_is(text: str, root: Path) -> str:
    caches = sorted(path.stem for path in _caches(root).glob("*.json") if not path.name.startswith("."))
    known = ", ".join(caches[:_LISTED]) + (", ..." if len(caches) > _LISTED else "")
    there = f"caches: {known}" if caches else f"no cache in {_caches(root)}"
    return f"no such file, folder or cache name{nearest(text, [*WORDS, *caches])} ({there})"


def _caches(root: Path) -> Path:
    # Imported here, as it brings file locks along: two files that are named need neither.
    from autotune_cli.results.cache import CACHE

    return root / CACHE
