"""Files that others wrote, read within limits: of size, of nesting, of waiting. Nothing here waits for ever or takes
memory without end; what can't be read within them is an :class:`Unreadable`, whose text says why in plain words.

Pipes are read as files are (``<(...)`` of a shell is one), as long as somebody writes to them.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

# A run of 10,000 candidates has some 110 MB; Python needs about ten times a file's size to hold it.
MOST_BYTES = 256 * 2**20
# Lists and objects in one another. A run has 8.
MOST_DEPTH = 100
# How long a pipe's writer may say nothing.
SILENCE_S = 30.0
_CHUNK = 2**20
_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISSOCK, "not a regular file but a socket"),
    (stat.S_ISCHR, "not a regular file but a device"),
    (stat.S_ISBLK, "not a regular file but a device"),
)


class Unreadable(Exception):
    """Why a file can't be read, or isn't what it should be: a part of a sentence, without the file's name."""


def plain(error: OSError) -> str:
    """What went wrong, in the system's words: ``no space left on device``."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def open_input(path: Path, pipes: bool = True) -> BinaryIO:
    """A regular file, or with ``pipes`` a pipe that somebody writes to, open for reading.

    Raises:
        Unreadable: missing, a folder, a device, a socket, a pipe without a writer, a NUL in the name ... While it is
            read: the pipe's writer says nothing for ``SILENCE_S``.
    """
    try:
        # A plain open() of a pipe waits for a writer; of some devices it does harm. stat() does neither.
        kind = os.stat(path).st_mode
        _refuse(kind, pipes)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable(plain(error)) from error
    except ValueError as error:  # a NUL in the name
        raise Unreadable(str(error)) from error
    try:
        # Once more, as another file may have come by that name.
        kind = os.fstat(descriptor).st_mode
        _refuse(kind, pipes)
        if not stat.S_ISFIFO(kind):
            return open(descriptor, "rb", buffering=_CHUNK)
        return io.BufferedReader(_Pipe(descriptor), _CHUNK)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int = MOST_BYTES, what: str = "result file", pipes: bool = True) -> bytes:
    """The content of a file, or what comes out of a pipe.

    Args:
        most: bytes. A larger file is refused by its size alone, before a byte is read.
        what: the file should be, for the message.
        pipes: read them too.

    Raises:
        Unreadable: see :func:`open_input`; also larger than ``most``, or than this machine's memory.
    """
    try:
        with open_input(path, pipes) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > most:
                raise Unreadable(f"{_size(size)}, over {_size(most)}: not a {what}?")
            data = _up_to(stream, size, most)
    except MemoryError as error:
        raise Unreadable("too large for this machine's memory") from error
    except OSError as error:
        raise Unreadable(plain(error)) from error
    if len(data) > most:
        raise Unreadable(f"over {_size(most)}: not a {what}?")
    return data


def decode(data: bytes) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        Unreadable: it isn't; the message says where.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text: byte {data[error.start]:#04x} at {error.start}") from error


def parse_json(text: str) -> Any:
    """The document in a JSON text. It is shallow: it can be copied, compared and printed.

    Raises:
        Unreadable: no JSON, nested too deeply, a number that Python doesn't take, or too much for the memory.
    """
    try:
        return shallow(json.loads(text, parse_constant=reject_constant))
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except MemoryError as error:
        raise Unreadable("too large for this machine's memory") from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {short_number(error)}") from error


def shallow(document: Any) -> Any:
    """The document itself.

    Raises:
        Unreadable: lists and objects are nested deeper than ``MOST_DEPTH``: printing them would end Python's patience,
            even where parsing just didn't.
    """
    level = [document]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return document
    raise Unreadable("nested too deeply")


def parse_toml(text: str) -> dict[str, Any]:
    """The document in a TOML text.

    Raises:
        Unreadable: as for :func:`parse_json`.
    """
    import tomllib  # here, as most calls of the program need none

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"not TOML: {error}") from error
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except MemoryError as error:
        raise Unreadable("too large for this machine's memory") from error
    except (ValueError, OverflowError) as error:  # also a date that no calendar has
        raise Unreadable(f"not TOML: {short_number(error)}") from error


def reject_constant(token: str) -> NoReturn:
    """For ``json.loads(parse_constant=)``: NaN and Infinity are no JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{token} is not a JSON number")


def printable(text: str) -> str:
    """The text with ``\\ud800`` for a half of a character, which JSON may hold and neither terminal nor file takes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def short_number(error: Exception) -> str:
    """What a parser says; of a number with thousands of digits, without the advice to Python's programmers."""
    text = str(error)
    return "a number with thousands of digits" if "set_int_max_str_digits" in text else text


def _refuse(mode: int, pipes: bool) -> None:
    if stat.S_ISFIFO(mode) and not pipes:
        raise Unreadable("not a regular file but a pipe")
    for is_kind, words in _KINDS:
        if is_kind(mode):
            raise Unreadable(words)


def _up_to(stream: BinaryIO, size: int, most: int) -> bytes:
    """All there is, or something longer than ``most``. A file may have more than its size said, as those of /proc."""
    parts = [stream.read(min(size, most) + 1)]
    total = len(parts[0])
    while parts[-1] and total <= most:
        parts.append(stream.read(_CHUNK))
        total += len(parts[-1])
    return b"".join(parts)


def _size(number: int) -> str:
    if number < 2**20:
        return f"{number / 2**10:,.0f} KiB"
    return f"{number / 2**20:,.0f} MiB"


class _Pipe(io.RawIOBase):
    """The reading end of a pipe, opened without waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._begun = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                data = os.read(self._descriptor, len(buffer))
            except BlockingIOError:
                if not self._poll.poll(SILENCE_S * 1000):
                    raise OSError(errno.ETIMEDOUT, "") from None
                continue
            if not data and not self._begun:
                raise Unreadable("an empty pipe, or one that nobody writes to")
            self._begun = True
            buffer[: len(data)] = data
            return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)
