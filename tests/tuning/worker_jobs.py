"""Jobs for a worker that do what candidates shouldn't. The worker imports this file too, by PYTHONPATH."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    value: Any = None

    def __call__(self, bench: object) -> Any:
        return self.value


@dataclass(frozen=True)
class Parts:
    count: int

    def __call__(self, bench: object) -> Iterator[int]:
        yield from range(self.count)


@dataclass(frozen=True)
class Unpicklable:
    def __call__(self, bench: object) -> Any:
        return lambda: None


@dataclass(frozen=True)
class Raise:
    """A signal in the worker itself: it can't tell who sent it, and nor can the parent."""

    number: int
    folder: Path
    times: int

    def __call__(self, bench: object) -> int:
        count = len(list(self.folder.iterdir()))
        if count < self.times:
            (self.folder / str(count)).touch()
            os.kill(os.getpid(), self.number)
            time.sleep(1000.0)
        return count


@dataclass(frozen=True)
class Write:
    """Bytes into every descriptor; then the answer, later or never. ``clock`` is told of the wait."""

    data: bytes
    then: str = "answers"
    clock: Path | None = None

    def __call__(self, bench: object) -> str:
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(descriptor, self.data)
        if self.then == "waits":
            if self.clock is not None:
                self.clock.write_bytes(b".")
            time.sleep(1000.0)
        if self.then == "closes":
            os.closerange(3, 64)
        return "forged"


@dataclass(frozen=True)
class Wait:
    """Says so, and goes on until the process is killed."""

    def __call__(self, builder: Any) -> None:
        builder._phase("waits", "")
        time.sleep(600.0)


@dataclass(frozen=True)
class Flood:
    """Text on stdout."""

    megabytes: int

    def __call__(self, bench: object) -> str:
        for _ in range(self.megabytes):
            os.write(1, b"x" * (1 << 20))
        os.write(1, b"the end")
        return "done"


@dataclass(frozen=True)
class Daemon:
    """A grandchild in a session of its own, whose parent is gone; then the worker is left as it is or ends."""

    file: Path
    ends: bool = False
    clean: bool = False

    def __call__(self, bench: object) -> str:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                self.file.write_text(str(os.getpid()))
                arguments = ["sleep", "1000"]
                if self.clean:
                    os.execve("/bin/sleep", arguments, {})
                os.execv("/bin/sleep", arguments)
            os._exit(0)
        while not (self.file.exists() and self.file.read_text()):
            time.sleep(0.01)
        if self.ends:
            os._exit(5)
        return "left"


def framed(message: Any) -> bytes:
    """As multiprocessing frames a message: garbage that reads well."""
    body = pickle.dumps(message)
    return struct.pack("!i", len(body)) + body
