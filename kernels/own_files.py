"""What a user's kernel file is made of: the files that decide what its candidates compute and how fast.

Two answers are put together. :func:`closure` reads the sources, runs nothing and finds what *may* be loaded, also later
inside ``prepare`` and ``run``. :class:`Watch` sees what *was* loaded in this process, however it was named. Installed
packages and the standard library are left out: their versions are part of a result's identity, or change no kernel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from autotune_cli.kernels.libraries import imported_libraries
from autotune_cli.kernels.source_references import BINARIES, forget_folders, references, temporary

CHANGED = "changed while it was measured"
_DIGITS = 16
# Libraries whose version an identity names; a checkout of them is no part of a kernel file either.
_LIBRARIES = ("torch", *imported_libraries(), "numpy")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/run", "/var")
_PARTS = {"site-packages", "dist-packages", "__pycache__"}
# Variables that say where compilers and libraries keep what they make.
_CACHES = (
    "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME",
    "FLASHINFER_WORKSPACE_BASE", "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", "CUDA_CACHE_PATH", "HF_HOME",
)  # fmt: skip
_METADATA = (".egg-info", ".dist-info")


def closure(roots: Iterable[Path]) -> list[Path]:
    """The files that these Python files may load, themselves included; sorted.

    Followed are imports, wherever they stand, through packages and relative ones; files and folders that a text in the
    source names; and what lies beside a source and is compiled or is to be: see :mod:`.source_references`.
    """
    forget_folders()
    waiting = {Path(os.path.realpath(root)) for root in roots}
    found: set[Path] = set()
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.is_file():
            continue
        found.add(path)
        if path.suffix == ".py":
            named = {Path(os.path.realpath(other)) for other in references(path)} - seen
            seen |= named
            waiting |= {other for other in named if is_own(other)}
    return sorted(found)


def digest(paths: Iterable[Path], base: Path) -> str:
    """First 16 hex digits of the SHA-256 of files' names, relative to ``base``, and contents.

    A file that can't be read makes it equal to no other digest: nobody knows what was loaded.
    """
    whole = hashlib.sha256()
    for path in paths:
        try:
            content = _sha256(path)
        except OSError:
            content = os.urandom(32)
        whole.update(os.fsencode(name_of(path, base)) + b"\0" + content)
    return whole.hexdigest()[:_DIGITS]


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file's content; empty where there is none."""
    try:
        return _sha256(path).hex()[:_DIGITS]
    except OSError:
        return ""


def name_of(path: Path, base: Path) -> str:
    """How a file is called in a result: relative, so that a checkout elsewhere calls it the same."""
    return Path(os.path.relpath(path, base)).as_posix()


def is_own(path: Path) -> bool:
    """Does a file belong to the user: not to an installed package, to Python or to this program?"""
    if _PARTS.intersection(path.parts) or any(part.endswith(_METADATA) for part in path.parts):
        return False
    text = str(path)
    return not any(text.startswith(folder + os.sep) for folder in (*_installed(), *_libraries()))


class Watch:
    """Sees which files this process loads from now on. There is no way to end it, so one a process is enough."""

    def __init__(self, begin: float) -> None:
        """``begin``: when the process began to load, as ``time.time()``: what is newer was made by it or edited."""
        self._begin = begin
        self._read: set[str] = set()
        self._written: set[str] = set()
        sys.addaudithook(self._on_event)

    def loaded(self, folders: Collection[Path]) -> dict[Path, str]:
        """The user's files that were loaded so far, and their :func:`file_digest`; ``CHANGED`` for an edited module.

        Args:
            folders: of the files that may be loaded, see :func:`closure`; what lies in them is taken for the user's.
        """
        modules = {path for path in map(_file_of, list(sys.modules.values())) if path is not None}
        seen = {*modules, *map(_real, list(self._read)), *_mapped()}
        files: dict[Path, str] = {}
        for path in sorted(path for path in seen if is_own(path) and not _is_passing(path, folders)):
            if str(path) in self._written or not path.is_file():
                continue
            newer = path.stat().st_mtime > self._begin
            if not newer:
                files[path] = file_digest(path)
            elif path in modules and path.suffix == ".py":
                files[path] = CHANGED
            # Other new files were made in this run, from what counts itself.
        return files

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        # Every event of the interpreter comes here, so it must be quick, and it must not raise.
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes):
                text = os.path.abspath(os.fsdecode(path))
                writes = isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
                if writes or (isinstance(mode, str) and not mode.startswith("r")):
                    self._written.add(os.path.realpath(text))
                elif text not in self._read:
                    self._read.add(text)


_watch: Watch | None = None


def watch(begin: float) -> None:
    """Begin to watch this process, unless it is watched."""
    global _watch
    if _watch is None:
        _watch = Watch(begin)


def loaded(folders: Collection[Path]) -> dict[Path, str]:
    """See :meth:`Watch.loaded`; nothing without :func:`watch`."""
    return {} if _watch is None else _watch.loaded(folders)


def _file_of(module: object) -> Path | None:
    """The file of a module: for one in an archive, the archive."""
    name = getattr(module, "__file__", None)
    if not isinstance(name, str) or not os.path.isabs(name):
        return None
    path = Path(os.path.realpath(name))
    if path.suffix == ".pyc":
        with suppress(ValueError, NotImplementedError):
            path = Path(importlib.util.source_from_cache(str(path)))
    return next((each for each in (path, *path.parents) if each.is_file()), None)


def _mapped() -> set[Path]:
    """Shared libraries and other files that are mapped into this process."""
    found = set()
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith("/"):
                path = Path(fields[5])
                if path.suffix in BINARIES or ".so." in path.name:
                    found.add(path)
    return found


def _is_passing(path: Path, folders: Collection[Path]) -> bool:
    """Is it something that comes and goes: in a cache, in the folder for temporary files, of the system?"""
    home = next((folder for folder in path.parents if folder in folders), None)
    if home is not None and str(home) == temporary():
        return path.parent != home
    if home is not None:
        return any(part.startswith(".") for part in path.relative_to(home).parts)
    text = str(path)
    if any(text.startswith(folder + os.sep) for folder in (*_SYSTEM, *_caches(), temporary())):
        return True
    return any(part.startswith(".") for part in path.parts)


def _caches() -> list[str]:
    return [os.path.realpath(os.environ[name]) for name in _CACHES if os.environ.get(name)]


def _real(text: str) -> Path:
    return Path(os.path.realpath(text))


@cache
def _installed() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders: set[str] = {sysconfig.get_path(name) for name in names}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.__file__)}
    # The libraries of a distribution like conda's.
    folders |= {os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
    folders.add(str(Path(__file__).parents[1]))
    folders |= {os.path.realpath(folder) for folder in folders}
    # kernels/ lies beside the package in a checkout, and is linked into it.
    folders.add(str(Path(os.path.realpath(__file__)).parent))
    return tuple(sorted(folders))


def _libraries() -> Sequence[str]:
    folders = []
    for name in _LIBRARIES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str):
            folders.append(os.path.dirname(os.path.realpath(file)))
    return folders


_known: dict[tuple[str, int, int, int], bytes] = {}


def _sha256(path: Path) -> bytes:
    status = path.stat()
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _known:
        whole = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                whole.update(chunk)
        _known[key] = whole.digest()
    return _known[key]
