"""What people call results: ``latest``, ``previous``, the name of a cache or of a run, a glob, a folder, a path. One
answer for every command and script."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from autotune_cli.errors import AutotuneError, nearest
from autotune_cli.results.runs import FLASHINFER_SUFFIX, RUNS, RunName, latest, newest_runs, previous, run_name

LATEST, PREVIOUS = "latest", "previous"
WORDS = (LATEST, PREVIOUS)
_JSON = ".json"
# How many names of what is there an error lists.
LISTED = 8


class NoSuchResult(AutotuneError):
    """A text that names no result, or several where one is asked for."""

    template = "{text}: {detail}"


def find_one(text: str, root: Path, name: str | None = None) -> Path:
    """The one file that a text names, see :func:`find`.

    Raises:
        NoSuchResult: none, or several, which are listed.
    """
    paths = find(text, root, name)
    if len(paths) > 1:
        raise NoSuchResult(text=text, detail=f"{len(paths)} results, name one: {_listed(map(str, paths))}")
    return paths[0]


def find_all(texts: Sequence[str], root: Path = Path(), name: str | None = None) -> list[Path]:
    """The files that texts name, each once, in the order in which they were named; see :func:`find`.

    Raises:
        NoSuchResult: a text that names nothing.
    """
    found: dict[str, Path] = {}
    for text in texts:
        for path in find(text, root, name):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def find(text: str, root: Path, name: str | None = None) -> list[Path]:
    """The files that a text names, one at least; whether they can be read is not looked at.

    In this order: ``latest`` and ``previous``; a path; a glob; a cache of ``root``, a run of ``root`` by its whole
    name, and the newest run of that name. ``cache/`` or ``runs/`` in front of a name choose between these.

    Args:
        text: as typed.
        root: folder of ``cache/`` and ``runs/``.
        name: the result name that ``latest`` and ``previous`` mean; None: the newest run of any name.

    Raises:
        NoSuchResult: it names nothing; the message says what there is, the nearest name first.
    """
    if "\0" in text or not text:
        raise NoSuchResult(text=repr(text), detail="is no name of a file")
    if text in WORDS:
        return [_by_word(text, root, name)]
    path = Path(text)
    # Not Path's own, which raise at names that are too long.
    if os.path.isdir(path):
        found = in_folder(path)
        if not found:
            raise NoSuchResult(text=text, detail=f"no result file in the folder{folders_below(path)}")
        return found
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
        found = [file for match in matches for file in (in_folder(match) if match.is_dir() else [match])]
        if not found:
            raise NoSuchResult(text=text, detail="no file matches")
        return found
    named = _by_name(text, root)
    if named is None:
        raise NoSuchResult(text=text, detail=_what_there_is(text, root))
    return [named]


def in_folder(folder: Path) -> list[Path]:
    """Its :func:`results_in`, or else any other JSON files in it.

    Raises:
        NoSuchResult: a folder that can't be read.
    """
    try:
        return results_in(folder) or json_files(folder)
    except OSError as error:
        raise NoSuchResult(text=folder, detail=(error.strerror or str(error)).lower()) from error


def results_in(folder: Path) -> list[Path]:
    """The newest run of each name in a folder or in its ``runs/``; without runs, the caches in its ``cache/``."""
    for inside in (folder, folder / RUNS):
        runs = newest_of_each(inside.glob(f"*{_JSON}"))
        if runs:
            return runs
    return json_files(_caches(folder))


def json_files(folder: Path) -> list[Path]:
    """Its JSON files by name, but for hidden ones, and for FlashInfer's choices that lie beside others."""
    found = sorted(path for path in folder.glob(f"*{_JSON}") if not path.name.startswith(".") and path.is_file())
    return [path for path in found if not path.stem.endswith(FLASHINFER_SUFFIX)] or found


def folders_below(folder: Path) -> str:
    """``; did you mean a, b?``: folders with JSON files right below, or nothing."""
    below = sorted({str(path.parent) for path in folder.glob(f"*/*{_JSON}")})
    return f"; did you mean {_listed(below)}?" if below else ""


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


def _by_word(word: str, root: Path, name: str | None) -> Path:
    path = latest(root, name) if word == LATEST else previous(root, name)
    if path is not None:
        return path
    of_name = f" of {name!r}" if name else ""
    if word == PREVIOUS and (only := latest(root, name)) is not None:
        raise NoSuchResult(text=word, detail=f"{only} is the only run of its name")
    caches = [path.stem for path in json_files(_caches(root))]
    others = f"; caches: {_listed(caches)}" if caches else ""
    raise NoSuchResult(
        text=word, detail=f"no run{of_name} in {root / RUNS}; 'autotune tune --no-cache' makes one{others}"
    )


def _by_name(text: str, root: Path) -> Path | None:
    """A cache or a run of ``root``; None: there is none of that name."""
    folder, slash, stem = text.rpartition("/")
    cached, ran = _caches(root), root / RUNS
    stem = stem.removesuffix(_JSON)
    if not stem or (slash and folder not in (cached.name, RUNS)):
        return None
    if not slash or folder == cached.name:
        path = cached / f"{stem}{_JSON}"
        if os.path.exists(path):
            return path
    if not slash or folder == RUNS:
        path = ran / f"{stem}{_JSON}"
        return path if run_name(path) is not None and os.path.exists(path) else latest(root, stem)
    return None


def _what_there_is(text: str, root: Path) -> str:
    caches = [path.stem for path in json_files(_caches(root))]
    runs = [name for name in _run_names(root) if name not in caches]
    there = [f"{what}: {_listed(names)}" for what, names in (("caches", caches), ("runs", runs)) if names]
    if not there:
        there = [f"none in {_caches(root)} and {root / RUNS}"]
    hint = nearest(Path(text).name.removesuffix(_JSON), [*WORDS, *caches, *runs])
    return f"no such file, folder or result{hint} ({'; '.join(there)})"


def _run_names(root: Path) -> list[str]:
    """Names of the runs in ``runs/``, the one that ran last first."""
    return list(dict.fromkeys(parts.name for path in newest_runs(root) if (parts := run_name(path)) is not None))


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:LISTED]) + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")


def _caches(root: Path) -> Path:
    # Imported here, as it brings file locks along: two files that are named need neither.
    from autotune_cli.results.cache import CACHE

    return root / CACHE
