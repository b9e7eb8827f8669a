"""stdout and stderr as they are found: closed, full, a pipe that nobody reads any more, without Unicode."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

from autotune_cli.errors import CannotWrite
from autotune_cli.plain_text import shown, without_unicode

# Who reads a pipe, or a socket, is gone: that is no fault of what was written.
_NOBODY_READS = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)

_SURROGATE = re.compile("[\ud800-\udfff]")


class Stream(io.TextIOBase):
    """Text to a stream: whatever it holds can be written, and a stream that is gone takes everything and keeps nothing.

    It has no ``buffer``: who writes bytes would go round what is done here.

    Args:
        inner: None: it was closed when the program began.
        what: what an error message calls it. None: its failures are nobody's business, as there is no other place to
            tell them (stderr).
    """

    def __init__(self, inner: TextIO | None, what: str | None) -> None:
        self._inner = inner
        self._what = what
        self._gone = inner is None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._inner, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Write all of it.

        Raises:
            CannotWrite: a full disk ...
            TypeError: bytes; click tries them, and an empty text, to find out what kind of stream it has.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is written, not {type(text).__name__}")
        if text and self._inner is not None and not self._gone:
            with self._watched(self._inner):
                self._inner.write(self._fitting(text))
        return len(text)

    def flush(self) -> None:
        """Have what was written arrive.

        Raises:
            CannotWrite: a full disk ...
        """
        if self._inner is not None and not self._gone:
            with self._watched(self._inner):
                self._inner.flush()

    def isatty(self) -> bool:
        return self._inner is not None and not self._inner.closed and self._inner.isatty()

    def fileno(self) -> int:
        if self._inner is None:
            raise io.UnsupportedOperation("fileno")
        return self._inner.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stays open: the stream below isn't ours."""

    def _fitting(self, text: str) -> str:
        if text.isascii():
            return text
        if not is_unicode(self.encoding):
            return without_unicode(text, self.encoding)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return _SURROGATE.sub(lambda match: shown(match[0]), text)
        return text

    @contextlib.contextmanager
    def _watched(self, inner: TextIO) -> Iterator[None]:
        try:
            yield
        except ValueError:
            if not inner.closed:
                raise
            self._gone = True
        except OSError as error:
            self._gone = True
            # What is still in its buffer must go somewhere, or the interpreter fails at its end, by a code of its own.
            with contextlib.suppress(OSError, ValueError):
                _point_to_nothing(inner.fileno())
            with contextlib.suppress(OSError, ValueError):
                inner.flush()
            if self._what is not None and error.errno not in _NOBODY_READS:
                text = os.strerror(error.errno) if error.errno else str(error)
                raise CannotWrite(path=self._what, detail=text[:1].lower() + text[1:]) from error


def is_unicode(encoding: str) -> bool:
    """Does an encoding have all characters?"""
    return encoding.lower().replace("_", "-").startswith("utf")


def stdout_is_unicode() -> bool:
    """May what is printed hold any character? Elsewhere JSON escapes what isn't ASCII, so that it stays JSON."""
    return is_unicode(getattr(sys.stdout, "encoding", None) or "utf-8")


def open_closed_descriptors() -> None:
    """Give 0, 1 and 2 something to be where they are closed, or the next file that is opened takes their place and
    gets what was meant for a terminal.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                # The lowest free number is this one.
                os.open(os.devnull, os.O_RDWR)


def _point_to_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, descriptor)
    finally:
        os.close(nothing)
