"""Which files a Python source names, without running it.

It errs on the side of too much: a file that is named and never loaded costs a measurement when it changes, one that is
loaded and missed keeps a wrong result.
"""

from __future__ import annotations

import ast
import fnmatch
import importlib
import importlib.machinery
import importlib.util
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

BINARIES = frozenset({".so", ".pyd", ".dylib", ".cubin", ".ptx", ".fatbin", ".hsaco"})
"""Compiled code; counted beside a source, and where a source names it."""
_TO_COMPILE = frozenset(
    {".cu", ".cuh", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".inc", ".inl", ".hip", ".cl", ".pyx", ".pxd"}
)
"""Sources of compiled code; counted beside a source and in the folders below."""
# Functions that are given a module's name as text.
_IMPORTERS = frozenset({"import_module", "__import__", "find_spec", "run_module", "resolve_name"})
# Folders of results, of builds and of other people's code.
_NOT_ENTERED = frozenset({"cache", "runs", "__pycache__", "node_modules", "build", "dist"})
_MOST_ENTRIES = 5000
_DEEPEST = 5
_LONGEST_NAME = 255


def references(path: Path) -> list[Path]:
    """The files that a Python source names or that lie beside it to be compiled or loaded.

    - Modules of ``import`` statements anywhere in it, with the packages that they are in; one that isn't found on
      ``sys.path`` is looked for in the folders below, as the path may be changed later.
    - Files that a text in it names, whole or as the last part of a path, also with ``*`` or ``{}`` in their names;
      ``name`` for a ``name.py`` beside it.
    - ``BINARIES`` beside it; sources of compiled code beside it and in the folders below.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return list(_beside(path))
    files: dict[Path, None] = dict.fromkeys(_beside(path))
    try:
        for node in ast.walk(tree):
            files.update(dict.fromkeys(_of_node(node, path)))
    except RecursionError:
        pass
    return list(files)


def _of_node(node: ast.AST, path: Path) -> Iterator[Path]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _module(alias.name, path)
    elif isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names if alias.name != "*"]
        if node.level:
            base = path.parents[min(node.level, len(path.parents)) - 1]
            inner = node.module.split(".") if node.module else []
            yield from _walk_down([base], inner)
            for name in names:
                yield from _walk_down([base], [*inner, name])
        elif node.module:
            yield from _module(node.module, path)
            for name in names:
                yield from _module(f"{node.module}.{name}", path)
    elif isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _IMPORTERS:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from _named_module(argument.value, path)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _named(node.value, path)
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
        yield from _matching("".join(map(str, parts)), path)


def _named_module(name: str, path: Path) -> Iterator[Path]:
    level = len(name) - len(name.lstrip("."))
    if not level:
        yield from _module(name, path)
    elif level <= len(path.parents):
        yield from _walk_down([path.parents[level - 1]], [part for part in name.split(".") if part])


def _module(name: str, path: Path) -> Iterator[Path]:
    """The files of a module and of the packages that it is in."""
    top, *inner = name.split(".")
    found = False
    # Beside the source too, whatever stands before it on the path.
    for file in _walk_down([path.parent], [top, *inner]):
        found = True
        yield file
    spec = _top(top)
    if spec is not None:
        if spec.origin and os.path.isabs(spec.origin):
            yield Path(spec.origin)
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        if folders and inner:
            yield from _walk_down(folders, inner)
    elif not found:
        for entry in _tree(path.parent):
            if entry.stem.split(".")[0] == top or entry.parent.name == top:
                yield entry
                yield from _walk_down([entry.parent], inner)


def _walk_down(folders: Iterable[Path], names: list[str]) -> Iterator[Path]:
    """The files of ``a``, ``a.b`` and ``a.b.c`` below folders, of packages with and without ``__init__``."""
    here = list(folders)
    for name in names:
        below = []
        for folder in here:
            for suffix in importlib.machinery.all_suffixes():
                if (file := folder / f"{name}{suffix}").is_file():
                    yield file
            if (package := folder / name).is_dir():
                below.append(package)
                if (file := package / "__init__.py").is_file():
                    yield file
        here = below


def _top(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _named(text: str, path: Path) -> Iterator[Path]:
    """Files that a text names."""
    if not text or len(text) > _LONGEST_NAME or not text.isprintable():
        return
    if text.isidentifier():
        yield from _walk_down([path.parent], [text])
    if (file := path.parent / text).is_file():
        yield file
    elif not os.path.isabs(text) and text.strip("./") and file.is_dir():
        # A folder that is put on the path, or that files are read from.
        yield from (entry for entry in _tree(file) if entry.suffix in (".py", *BINARIES))
    if any(mark in text for mark in "*?["):
        yield from _matching(text, path)
    elif "." in text:
        parts = Path(text).parts
        wanted = [part for part in parts if part not in ("..", os.sep)]
        for entry in _by_name(path.parent).get(wanted[-1], ()) if wanted else ():
            if list(entry.parts[-len(wanted) :]) == wanted:
                yield entry


def _matching(pattern: str, path: Path) -> Iterator[Path]:
    """Files below whose name matches the last part of a pattern; one without a suffix says too little."""
    last = pattern.rpartition("/")[2]
    if not last.strip("*?.") or "." not in last or len(last) > _LONGEST_NAME:
        return
    yield from (entry for entry in _tree(path.parent) if fnmatch.fnmatchcase(entry.name, last))


def _beside(path: Path) -> Iterator[Path]:
    for entry in _tree(path.parent):
        if entry.suffix in _TO_COMPILE or (entry.suffix in BINARIES and entry.parent == path.parent):
            yield entry


@cache
def _tree(folder: Path) -> tuple[Path, ...]:
    """The files of a folder and of those below it, breadth first, up to a number: a home folder has millions."""
    files: list[Path] = []
    level, entries = [folder], 0
    # What lies below the folder for temporary files is of everybody, and below a home, of everything.
    for _ in range(1 if str(folder) in (temporary(), os.path.expanduser("~"), os.sep) else _DEEPEST):
        below: list[Path] = []
        for each in level:
            try:
                found = sorted(os.scandir(each), key=lambda entry: entry.name)
            except OSError:
                continue
            entries += len(found)
            if entries > _MOST_ENTRIES and files:
                return tuple(files)
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_file():
                    files.append(each / entry.name)
                elif (
                    entry.is_dir(follow_symlinks=False) and entry.name not in _NOT_ENTERED and not _is_venv(entry.path)
                ):
                    below.append(each / entry.name)
        level = below
    return tuple(files)


@cache
def temporary() -> str:
    """The folder for temporary files."""
    try:
        return os.path.realpath(tempfile.gettempdir())
    except OSError:
        return "/tmp"


@cache
def _by_name(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for entry in _tree(folder):
        found.setdefault(entry.name, []).append(entry)
    return found


def forget_folders() -> None:
    """Look into folders anew: files may have come or gone."""
    _tree.cache_clear()
    _by_name.cache_clear()
    importlib.invalidate_caches()


def _is_venv(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))
