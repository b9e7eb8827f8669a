"""The end of what a worker prints. It comes through a pipe, so that not even gigabytes need room on a disk."""

from __future__ import annotations

import contextlib
import os

# Enough for what faulthandler tells of a deep stack.
_KEPT_BYTES = 16_000
_READ_BYTES = 1 << 16
# At one go, so that a process that prints without end doesn't keep its reader.
_MOST_READS = 64


class WorkerLog:
    """Owns both ends of a pipe until :meth:`started`, then the one that is read."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._kept = bytearray()
        self._size = 0

    @property
    def writer(self) -> int:
        """The descriptor for the process's stdout and stderr."""
        return self._writer

    @property
    def reader(self) -> int:
        """The descriptor to wait on; -1: nothing more comes."""
        return self._reader

    def started(self) -> None:
        """The process has its end of the pipe."""
        os.close(self._writer)
        self._writer = -1

    def drain(self) -> None:
        """Take in what is there."""
        for _ in range(_MOST_READS):
            if self._reader < 0:
                return
            try:
                data = os.read(self._reader, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                os.close(self._reader)
                self._reader = -1
                return
            self._size += len(data)
            self._kept += data
            del self._kept[:-_KEPT_BYTES]

    def size(self) -> int:
        """Bytes that were printed so far."""
        self.drain()
        return self._size

    def tail(self, begin: int = 0) -> str:
        """What was printed from byte ``begin`` on, at most the last 16 kB of it."""
        self.drain()
        fresh = max(0, self._size - begin)
        return bytes(self._kept[-fresh:] if fresh else b"").decode(errors="replace")

    def close(self) -> None:
        for descriptor in (self._reader, self._writer):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._reader = self._writer = -1
