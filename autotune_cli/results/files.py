"""Result files on disk: read with a clear refusal, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from autotune_cli.errors import BadFile, CannotWrite
from autotune_cli.results.explain_errors import problems
from autotune_cli.results.schema import RunFile
from autotune_cli.results.upgrade import upgrade

# A list or object without lists or objects inside stays on one line up to this width: one record a line is easy to
# read in a diff, and half the size of one number a line.
_LINE = 110
_one_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{16}\.tmp")


def read_run(path: Path) -> RunFile:
    """The run or cache in a file, upgraded if it is older.

    Raises:
        NewerSchema: written by a newer version of this program.
        BadFile: missing, unreadable, not JSON, or not a run; the message says where.
    """
    text = _read_text(path)
    document, changed = upgrade(_parse(text, path), path)
    try:
        # Strict and from text: "3" is no number, yet a list is a tuple.
        return RunFile.model_validate_json(json.dumps(document) if changed else text, strict=True)
    except ValidationError as error:
        raise BadFile(path=path, detail=problems(error, document)) from error


def dump_run(run: RunFile) -> str:
    """The text of a result file: JSON, one space of indentation, short records on one line.

    Text that isn't valid Unicode (a file name on the command line may not be) has ``?`` for what can't be written.
    """
    return _valid_text(_lines(run.model_dump(mode="python"), "") + "\n")


def dump_line(record: BaseModel) -> str:
    """A record as JSON on one line, without the line's end."""
    return _valid_text(_one_line(record.model_dump(mode="python")))


def write_atomic(path: Path, text: str) -> None:
    """Replace a file's content: afterwards the old or the new one is there, whole, even after a power failure.

    Missing folders are made. A link is followed.

    Raises:
        CannotWrite: a full disk, a read-only folder, a folder of that name ... The old file is untouched.
    """
    try:
        make_folder(path.parent)
        target = _target(path)
        # In the target's folder, as a rename doesn't cross file systems.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            _write_synced(temporary, text.encode("utf-8"))
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


def plain(error: OSError) -> str:
    """What went wrong, in the system's words: ``no space left on device``."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def cannot_write(path: Path, error: OSError) -> NoReturn:
    """Turn a system error into ours.

    Raises:
        CannotWrite: always.
    """
    raise CannotWrite(path=path, detail=plain(error)) from error


def reject_constant(token: str) -> NoReturn:
    """For ``json.loads(parse_constant=)``: NaN and Infinity are no JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{token} is not a JSON number")


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadFile(path=path, detail=plain(error) if isinstance(error, OSError) else str(error)) from error
    if not data.strip():
        raise BadFile(path=path, detail="the file is empty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path=path, detail=f"not UTF-8 text: byte {data[error.start]:#04x} at {error.start}") from error


# A document may end in the middle of one. An empty rest begins all of them.
_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")


def _parse(text: str, path: Path) -> object:
    try:
        return json.loads(text, parse_constant=reject_constant)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        begun = any(word.startswith(rest) for word in _LITERALS)
        cut = begun or error.msg.startswith("Unterminated string")
        where = f"line {error.lineno}, column {error.colno}"
        detail = f"cut short: the JSON ends in the middle ({where})" if cut else f"not JSON: {where}: {error.msg}"
        raise BadFile(path=path, detail=detail) from error
    except RecursionError as error:
        raise BadFile(path=path, detail="not a result file: nested too deeply") from error
    except ValueError as error:
        raise BadFile(path=path, detail=f"not JSON: {error}") from error


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


def _write_synced(path: Path, data: bytes) -> None:
    # 0o666 less the umask, as open() does; tempfile's 0o600 would hide results from the group.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _valid_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _lines(value: Any, indent: str) -> str:
    if not isinstance(value, dict | list | tuple) or not value:
        return _one_line(value)
    items = value.values() if isinstance(value, dict) else value
    if not any(isinstance(item, dict | list | tuple) and item for item in items):
        line = _one_line(value)
        if len(indent) + len(line) <= _LINE or all(type(item) in (int, float) for item in items):
            return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{_one_line(key)}: {_lines(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _lines(item, inner) for item in value) + f"\n{indent}]"
