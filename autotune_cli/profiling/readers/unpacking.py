"""The bytes of a file or a pipe, unpacked if they are gzip's."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.reading import Unreadable, open_input, plain

# Traces shrink to a tenth or a twentieth. A file of 1 MB that is far larger inside was made to fill the memory.
_MOST_SHRUNK, _HARMLESS = 100, 1 << 26
_MAGIC = b"\x1f\x8b"


class Unpacked:
    """An open file; leaving ``with`` closes it.

    Attributes:
        size: of the file, in bytes; 0: a pipe.
        position: unpacked bytes that were read.
    """

    def __init__(self, path: Path, given: BinaryIO | None, buffer: int) -> None:
        """Open a file.

        Args:
            given: it is open already.
            buffer: bytes that are unpacked at once.

        Raises:
            BadTrace: it can't be read.
        """
        self.path = path
        self.position = 0
        try:
            self._stream = open_input(path) if given is None else given
        except Unreadable as error:
            raise self._bad(f"can't be read: {error}") from None
        self.size = os.fstat(self._stream.fileno()).st_size
        self._raw = _CountedReads(self._stream)
        try:
            self._is_packed = self._raw.peek() == _MAGIC
        except (OSError, Unreadable) as error:
            self._stream.close()
            raise self._bad(f"can't be read: {plain(error) if isinstance(error, OSError) else error}") from None
        self._file = cast("IO[bytes]", self._raw)
        if self._is_packed:
            unpacked: Any = gzip.GzipFile(fileobj=self._file, mode="rb")
            self._file = io.BufferedReader(unpacked, buffer)

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def done(self) -> int:
        """Bytes of the file that were read, at most ``size``."""
        return min(self._raw.bytes, self.size)

    def read(self, size: int) -> bytes:
        """Up to so many bytes, none at the end.

        Raises:
            BadTrace: a gzip file that is cut off, damaged or far larger inside than any trace; an error of the system.
        """
        try:
            data = self._file.read(size)
        except EOFError:
            raise self._bad("a gzip file that is cut off") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._bad(f"a damaged gzip file: {error}") from None
        except OSError as error:
            raise self._bad(f"can't be read: {plain(error)}") from None
        except Unreadable as error:
            raise self._bad(str(error)) from None
        self.position += len(data)
        if self._is_packed and self.position > max(_HARMLESS, _MOST_SHRUNK * self._raw.bytes):
            raise self._bad(f"a gzip file that is over {_MOST_SHRUNK} times as large inside: not a trace")
        return data

    def _bad(self, detail: str) -> BadTrace:
        return BadTrace(path=self.path, detail=detail)


class _CountedReads:
    """An open file that counts what was read from it; a pipe can't tell."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = cast("io.BufferedReader", stream)
        self.bytes = 0

    def peek(self) -> bytes:
        """The first two bytes, which are read later."""
        return self._stream.peek(2)[:2]

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.bytes += len(data)
        return data
