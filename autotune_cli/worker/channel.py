"""Messages between the parent and a worker, over a socket that candidates can reach too.

A candidate runs in the worker's process: it may write into any descriptor, close all of them, or fork a copy of the
worker. So each message carries a keyed digest of itself, its direction and its number; what doesn't fit is no
message, however well it reads. A length is believed only after its own digest, so none can ask for memory.

    length (8 bytes) | digest of the length (16) | pickled message | digest of the message (16)
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import socket
import struct
from typing import Any, Literal

KEY_BYTES = 16
_DIGEST_BYTES = 16
_LENGTH = struct.Struct(">Q")
_HEAD_BYTES = _LENGTH.size + _DIGEST_BYTES
_READ_BYTES = 1 << 16

Side = Literal["parent", "worker"]

EXIT_LOST = 79
"""Exit code of a worker that can't answer any more, as its descriptor is closed or leads elsewhere."""


class Spoilt(Exception):
    """Something that the other side didn't send."""


class Writer:
    """Turns the messages of one side into bytes."""

    def __init__(self, key: bytes, side: Side) -> None:
        self._key, self._side, self._number = key, side, 0

    def pack(self, message: Any) -> bytes:
        """The bytes of the next message; to be sent, as the reader counts too.

        Raises:
            Exception: whatever pickling it raises; then it doesn't count.
        """
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        length = _LENGTH.pack(len(body))
        number, self._number = self._number, self._number + 1
        head = length + _digest(self._key, self._side, number, b"length", length)
        return head + body + _digest(self._key, self._side, number, b"message", body)


class Reader:
    """Turns bytes back into the messages of one side, as they arrive."""

    def __init__(self, key: bytes, side: Side) -> None:
        self._key, self._side, self._number = key, side, 0
        self._bytes = bytearray()
        self._length: int | None = None

    @property
    def is_quiet(self) -> bool:
        """Is nothing there, not even the beginning of a message?"""
        return not self._bytes

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def take(self) -> bytes | None:
        """The next whole message, pickled; None: more bytes are needed.

        Raises:
            Spoilt: the bytes are not the other side's next message.
        """
        if self._length is None:
            if len(self._bytes) < _HEAD_BYTES:
                # Garbage that is too short for a head would be waited on for ever, so it is: till the time limit.
                return None
            length, digest = bytes(self._bytes[: _LENGTH.size]), bytes(self._bytes[_LENGTH.size : _HEAD_BYTES])
            self._verify(b"length", length, digest)
            self._length = _LENGTH.unpack(length)[0]
        end = _HEAD_BYTES + self._length
        if len(self._bytes) < end + _DIGEST_BYTES:
            return None
        body = bytes(self._bytes[_HEAD_BYTES:end])
        self._verify(b"message", body, bytes(self._bytes[end : end + _DIGEST_BYTES]))
        del self._bytes[: end + _DIGEST_BYTES]
        self._length = None
        self._number += 1
        return body

    def _verify(self, what: bytes, data: bytes, digest: bytes) -> None:
        if not hmac.compare_digest(digest, _digest(self._key, self._side, self._number, what, data)):
            raise Spoilt


class WorkerChannel:
    """The worker's end: blocking. The key comes first, before any code of others runs."""

    def __init__(self, descriptor: int) -> None:
        # What a candidate starts must not hold the connection open.
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._pid = os.getpid()
        self._identity = _identity(descriptor)
        key = b""
        while len(key) < KEY_BYTES:
            part = self._socket.recv(KEY_BYTES - len(key))
            if not part:
                raise EOFError
            key += part
        self._writer, self._reader = Writer(key, "worker"), Reader(key, "parent")

    def send(self, message: Any) -> None:
        """Send a message whole, or end the process.

        Raises:
            Exception: it can't be pickled.
        """
        data = self._writer.pack(message)
        self._stay_or_go()
        try:
            self._socket.sendall(data)
        except OSError:
            os._exit(EXIT_LOST)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the parent has closed the connection.
        """
        while (body := self._reader.take()) is None:
            self._stay_or_go()
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:
                data = b""
            except OSError:
                os._exit(EXIT_LOST)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return pickle.loads(body)

    def _stay_or_go(self) -> None:
        """A copy that a candidate forked, and that came back from its function, is no worker. Nor can one go on whose
        descriptor was closed: by now it may be another file's.
        """
        if os.getpid() != self._pid:
            os._exit(0)
        if _identity(self._socket.fileno()) != self._identity:
            os._exit(EXIT_LOST)


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _digest(key: bytes, side: Side, number: int, what: bytes, data: bytes) -> bytes:
    digest = hashlib.blake2b(key=key, digest_size=_DIGEST_BYTES, person=side.encode())
    digest.update(_LENGTH.pack(number) + what)
    digest.update(data)
    return digest.digest()
