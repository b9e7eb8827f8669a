"""Result files on disk: read with a clear refusal, written whole or not at all."""

from __future__ import annotations

import codecs
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
from pydantic_core import from_json

from autotune_cli.errors import BadFile, CannotWrite
from autotune_cli.reading import Unreadable, decode, plain, read_bytes, reject_constant, short_number
from autotune_cli.results.explain_errors import problems
from autotune_cli.results.schema import RunFile
from autotune_cli.results.upgrade import upgrade

# A list or object without lists or objects inside stays on one line up to this width: one record a line is easy to
# read in a diff, and half the size of one number a line.
_LINE = 110
_one_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
# An identity has some dozens of fields.
_MOST_FIELDS = 10_000
# The largest float has as many. Python prints no whole number of more than 4300 digits.
_MOST_BITS = 1024
_TO_PREPARE = frozenset({dict, list, int})
_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{16}\.tmp")


def read_run(path: Path) -> RunFile:
    """The run or cache in a file, upgraded if it is older.

    Raises:
        NewerSchema: written by a newer version of this program.
        BadFile: missing, unreadable, too large, not JSON, or not a run; the message says where.
    """
    return parse_run(read_file(path), path)


def read_file(path: Path) -> bytes:
    """The bytes of a result file, or of a pipe.

    Raises:
        BadFile: see :func:`autotune_cli.reading.read_bytes`.
    """
    try:
        return read_bytes(path)
    except Unreadable as error:
        raise BadFile(path=path, detail=error) from error


def parse_run(data: bytes, path: Path) -> RunFile:
    """The run or cache in the bytes of a file.

    Args:
        path: for messages.

    Raises:
        NewerSchema, BadFile: see :func:`read_run`.
    """
    if not data.strip():
        raise BadFile(path=path, detail="the file is empty")
    try:
        document = prepared(_parse(data, path))
        document, changed = upgrade(document, path)
        # Python's objects rather than text: an error on text holds a copy of all that is around its place. Strict: "3"
        # is no number, nor is a list a tuple, which :func:`prepared` has seen to.
        return RunFile.model_validate(prepared(document) if changed else document, strict=True)
    except Unreadable as error:
        raise BadFile(path=path, detail=error) from error
    except ValidationError as error:
        raise BadFile(path=path, detail=problems(error, document)) from None
    except RecursionError as error:
        raise BadFile(path=path, detail="not a result file: nested too deeply") from error
    except MemoryError as error:
        raise BadFile(path=path, detail="too large for this machine's memory") from error


def prepared(value: Any) -> Any:
    """A parsed JSON document for strict validation: with tuples for its lists. Objects are changed in place.

    Raises:
        Unreadable: an object of more fields than any of a result file has (pydantic keeps an error for each that it
            doesn't know, and can't be told to stop), or a whole number that no float holds.
        RecursionError: nested too deeply.
    """
    if type(value) is list:
        return tuple([prepared(item) if type(item) in _TO_PREPARE else item for item in value])
    if type(value) is dict:
        if len(value) > _MOST_FIELDS:
            raise Unreadable(f"not a result file: an object with {len(value):,} fields")
        for key, item in value.items():
            if type(item) in _TO_PREPARE:
                value[key] = prepared(item)
    elif type(value) is int and value.bit_length() > _MOST_BITS:
        raise Unreadable("a number with hundreds of digits")
    return value


def dump_run(run: RunFile) -> str:
    """The text of a result file: JSON, one space of indentation, short records on one line.

    Text that isn't valid Unicode (a file name on the command line may not be) has ``?`` for what can't be written.
    """
    return _valid_text(_lines(run.model_dump(mode="python"), "") + "\n")


def dump_line(record: BaseModel) -> str:
    """A record as JSON on one line, without the line's end."""
    return _valid_text(_one_line(record.model_dump(mode="python")))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file's content: afterwards the old or the new one is there, whole, even after a power failure.

    Missing folders are made. A link is followed. A text is written as UTF-8.

    Raises:
        CannotWrite: a full disk, a read-only folder, a folder of that name ... The old file is untouched.
    """
    try:
        make_folder(path.parent)
        target = _target(path)
        # In the target's folder, as a rename doesn't cross file systems.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            _write_synced(temporary, content if isinstance(content, bytes) else content.encode("utf-8"))
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


# A document may end in the middle of one. An empty rest begins all of them.
_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")


def _parse(data: bytes, path: Path) -> object:
    try:
        # Three times as fast as json, and it refuses halves of characters; but what it says is of less use.
        return from_json(data.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        refusal = str(error)
    text = decode(data)
    try:
        json.loads(text, parse_constant=reject_constant)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        begun = any(word.startswith(rest) for word in _LITERALS)
        cut = begun or error.msg.startswith("Unterminated string")
        where = f"line {error.lineno}, column {error.colno}"
        detail = f"cut short: the JSON ends in the middle ({where})" if cut else f"not JSON: {where}: {error.msg}"
        raise BadFile(path=path, detail=detail) from error
    except RecursionError as error:
        raise Unreadable("not a result file: nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {short_number(error)}") from error
    if refusal.startswith("recursion"):
        refusal = "nested too deeply"
    # json takes a \\ud800 without its other half, which no file can hold.
    refusal = refusal.replace("unexpected end of hex escape", "half of a character")
    raise Unreadable(f"not JSON: {refusal}")


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
