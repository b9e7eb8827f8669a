"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from autotune_cli.errors import CannotWrite
from autotune_cli.reading import plain

_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{16}\.tmp")


def write_atomic(path: Path, content: str | bytes, is_program: bool = False) -> None:
    """Replace a file's content: afterwards the old or the new one is there, whole, even after a power failure.

    Missing folders are made. A link is followed. A text is written as UTF-8.

    Args:
        is_program: may it be run by its name?

    Raises:
        CannotWrite: a full disk, a read-only folder, a folder of that name ... The old file is untouched.
    """
    try:
        make_folder(path.parent)
        target = _target(path)
        # In the target's folder, as a rename doesn't cross file systems.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            _write_synced(temporary, content if isinstance(content, bytes) else content.encode("utf-8"), is_program)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)
    except OSError as error:
        cannot_write(path, error)


def remove_temporaries(path: Path) -> None:
    """Remove what killed writers of this file left; only under a lock that keeps living ones out."""
    with suppress(OSError):
        target = _target(path)
        for name in os.listdir(target.parent):
            match = _TEMPORARY.fullmatch(name)
            if match and match["target"] == target.name:
                with suppress(OSError):
                    (target.parent / name).unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OSError: it can't be made; a file in its place is "not a directory", as everywhere else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't; the file itself is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> NoReturn:
    """Turn a system error into ours.

    Raises:
        CannotWrite: always.
    """
    raise CannotWrite(path=path, detail=plain(error)) from error


def _target(path: Path) -> Path:
    """The regular file to replace.

    Raises:
        OSError: it is something else. Replacing a device, as root even /dev/null, would remove it.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError("not a regular file")
    return target


def _write_synced(path: Path, data: bytes, is_program: bool) -> None:
    # Less the umask, as open() does; tempfile's 0o600 would hide results from the group.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if is_program else 0o666)
    with open(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
