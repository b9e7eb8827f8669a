"""A log as it comes: a file or a pipe, packed by gzip or not, of any size; read once, line by line."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.unpacking import Unpacked
from autotune_cli.reading import Unreadable, open_input, plain
from autotune_cli.traffic.errors import BadTraffic

# Of what is split into lines at once, each some 50 bytes larger then.
_CHUNK = 1 << 18
# By so much of its beginning a format is told. Longer than the first lines of any log that is known.
_HEAD = 1 << 16
# The document of a benchmark is one line, with what 100,000 requests generated.
_LONGEST_LINE = 1 << 28
_MAGIC = b"\x1f\x8b"


class Source:
    """An open log. Use it with ``with``.

    Raises:
        BadTraffic: it is missing, a folder, a device, or can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            stream = open_input(path)
        except Unreadable as error:
            raise BadTraffic(path, f"can't be read: {error}") from None
        self._inner = stream
        try:
            start = _read_up_to(stream, _HEAD)
        except (OSError, Unreadable) as error:
            stream.close()
            said = plain(error) if isinstance(error, OSError) else str(error)
            raise BadTraffic(path, f"can't be read: {said}") from None
        self.head = _unpacked(start).decode("utf-8-sig", errors="replace")
        """Its first characters, unpacked, some 64 KiB at least where it has so many."""
        self.stream = cast(BinaryIO, io.BufferedReader(_Again(start, stream), _CHUNK))
        """All its bytes, packed or not, to be read once."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines that aren't blank, with their numbers, from 1 on.

        Raises:
            BadTraffic: a gzip file that is cut off or damaged, text that isn't UTF-8, a line longer than any log's.
        """
        number, rest = 0, b""
        try:
            file = Unpacked(self.path, self.stream, _CHUNK)
            while True:
                data = file.read(_CHUNK)
                parts = (rest + data).split(b"\n") if data else [rest, b""]
                rest = parts.pop()
                if len(rest) > _LONGEST_LINE:
                    raise self.bad(f"a line of more than {_LONGEST_LINE >> 20} MiB: not a log", number + 1)
                for part in parts:
                    number += 1
                    text = self._text(part, number)
                    if text and not text.isspace():
                        yield number, text
                if not data:
                    return
        except BadTrace as error:
            raise self.bad(str(error.values["detail"])) from None

    def bad(self, detail: str, line: int | None = None) -> BadTraffic:
        """An error of this log."""
        return BadTraffic(self.path, detail, line)

    def _text(self, part: bytes, number: int) -> str:
        try:
            return part.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise self.bad(f"not UTF-8 text: byte {part[error.start]:#04x} at {error.start}", number) from None


class _Again(io.RawIOBase):
    """A stream whose beginning was read: that, and then the rest."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._rest.fileno()

    def readinto(self, buffer: Any) -> int:
        data, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        if not data:
            data = self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _read_up_to(stream: BinaryIO, size: int) -> bytes:
    """A pipe may give it in parts."""
    parts: list[bytes] = []
    while (left := size - sum(map(len, parts))) > 0:
        data = stream.read(left)
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def _unpacked(start: bytes) -> bytes:
    """What can be unpacked of a beginning; of a damaged one perhaps nothing, which is said when it is read."""
    if not start.startswith(_MAGIC):
        return start
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(start, _HEAD)
    except zlib.error:
        return b""
