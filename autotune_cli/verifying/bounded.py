"""A response that has to be there in time, however it comes.

A socket's timeout bounds the wait for the next bytes, and a server that sends one byte at a time meets it for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

now: Callable[[], float] = time.monotonic
"""Seconds; tests have a clock of their own."""


class NotDone(Exception):
    """Bytes still come, and the time for the whole is over."""


class BoundedResponse(http.client.HTTPResponse):
    """Headers and body together may take as long as the socket's timeout, and the last bytes as long again."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self._sock = sock
        self._bytes = _Bounded(self.fp.detach(), sock.gettimeout())
        # http.client reads all of a response, head and body, from ``fp``.
        self.fp = io.BufferedReader(self._bytes)

    def hurry(self, seconds: float) -> None:
        """What has not been read has to come within this time."""
        self._sock.settimeout(seconds)
        self._bytes.end = now() + seconds


class _Bounded(io.RawIOBase):
    """A socket's bytes until a moment."""

    def __init__(self, raw: io.RawIOBase, seconds: float | None) -> None:
        self._raw = raw
        self.end = None if seconds is None else now() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """As the socket's.

        Raises:
            NotDone: it is too late.
            TimeoutError: nothing comes.
        """
        if self.end is not None and now() > self.end:
            raise NotDone
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
