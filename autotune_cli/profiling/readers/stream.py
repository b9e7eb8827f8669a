"""Chrome's trace JSON, event by event: a file of any size in a few megabytes of memory.

Python's own JSON decoder (C code) reads each event out of a sliding window of text, so there is no dependency and no
second parser. Form: an object with ``traceEvents``, as torch's profiler writes it, or a bare list of events.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.mending import mend_name, mend_numbers
from autotune_cli.profiling.readers.unpacking import Unpacked

# Bytes done, bytes in all.
Progress = Callable[[int, int], None]

_CHUNK = 1 << 22
# No event is longer; what can't be read within it is broken.
_LONGEST = 1 << 24
# What is read on top of the file besides the events; the rest is passed over.
_HEADER = frozenset({"schemaVersion", "deviceProperties", "distributedInfo"})
_BETWEEN = re.compile(r"[\s,]*")
_SPACE = re.compile(r"\s*")
# An error within so many characters of the end of the text at hand may be for want of more; one in a window of so many
# characters is not.
_TOKEN, _ENOUGH = 16, 1 << 16


class EventStream:
    """The events of one file. ``header`` fills up with the other values of the document while they are read."""

    def __init__(self, path: Path, progress: Progress | None = None, stream: BinaryIO | None = None) -> None:
        self.path = path
        self._given = stream
        self.header: dict[str, Any] = {}
        self.mended = 0
        """Names with quotes or back-slashes in them that were not escaped."""
        self._progress = progress
        self._text = ""
        self._at = 0
        self._ended = False
        self._decode = json.JSONDecoder(strict=False).raw_decode

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All events.

        Raises:
            BadTrace: no JSON, no events, cut off, a damaged gzip file, a file that can't be read.
        """
        with self._open():
            first = self._peek()
            if first == "[":
                yield from self._events(open_end=True)
            elif first == "{":
                yield from self._document()
            else:
                raise self._bad("not a trace: neither JSON, nor gzipped JSON, nor an SQLite export of Nsight Systems")
            self._refuse_more()

    def read_header(self) -> dict[str, Any]:
        """What stands before the events."""
        with self._open():
            if self._peek() == "{":
                for _ in self._document(events=False):
                    pass
        return self.header

    def has_events(self) -> bool:
        """Is there a list of events?

        Raises:
            BadTrace: as reading them.
        """
        with self._open():
            if self._peek() == "{":
                for _ in self._document(events=False):
                    pass
                return self._found
        return True

    def _document(self, events: bool = True) -> Iterator[dict[str, Any]]:
        self._at += 1
        self._found = found = False
        while True:
            mark = self._peek(_BETWEEN)
            if mark == "}":
                self._at += 1
                break
            key = self._value()
            if not isinstance(key, str) or self._peek() != ":":
                raise self._bad("not JSON")
            self._at += 1
            if key != "traceEvents":
                value = self._value()
                if key in _HEADER:
                    self.header[key] = value
                continue
            if self._peek() != "[":
                raise self._bad("traceEvents is not a list: not a trace of torch's profiler")
            self._found = found = True
            if not events:
                return
            yield from self._events()
        if not found and events:
            raise self._bad("JSON without traceEvents: not a trace of torch's profiler")

    def _events(self, open_end: bool = False) -> Iterator[dict[str, Any]]:
        """The events of a list. Chrome's own form, a bare list, may lack its end: killed writers leave it so."""
        self._at += 1
        while True:
            yield from self._events_in_window()
            if open_end and self._is_at_end(_BETWEEN):
                return
            mark = self._peek(_BETWEEN)
            if mark == "]":
                self._at += 1
                return
            if mark != "{":
                raise self._bad("a list of something that is no event: not a trace of torch's profiler")
            # The closing brace ends an event, so there is no doubt whether one is complete.
            yield cast("dict[str, Any]", self._value())

    def _events_in_window(self) -> Iterator[dict[str, Any]]:
        """The fast path: events that lie wholly within the text at hand."""
        text, skip, decode = self._text, _BETWEEN.match, self._decode
        while True:
            match = skip(text, self._at)
            self._at = match.end() if match else self._at
            if not text.startswith("{", self._at):
                return
            try:
                event, self._at = decode(text, self._at)
            except (ValueError, RecursionError):
                return
            yield event

    def _value(self) -> Any:
        """The next JSON value, with as much more text as it takes."""
        self._peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._mend(error.pos):
                    continue
                is_whole = self._ended or len(self._text) - self._at > _ENOUGH
                if is_whole and not self._wants_more(error):
                    raise self._bad(f"not JSON: {error.msg.lower()} at byte {self._byte(error.pos):,}") from None
                if self._ended or len(self._text) - self._at > _LONGEST:
                    raise self._bad(
                        "cut off in the middle of an event" if self._ended else f"not JSON: {error.msg}"
                    ) from None
                self._fill(wanted)
                wanted *= 2
                continue
            except (ValueError, RecursionError):
                raise self._bad("not a trace: values that are nested too deep, or numbers that are too long") from None
            # A number at the very end of the window may go on.
            if end == len(self._text) and not self._ended and not isinstance(value, dict | list | str):
                self._fill(_CHUNK)
                continue
            self._at = end
            return value

    def _wants_more(self, error: json.JSONDecodeError) -> bool:
        """Could the error be for want of the text behind the window? A string without an end always could."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _TOKEN

    def _mend(self, error: int) -> bool:
        """Puts right what profilers write that is no JSON, if that is where the error lies."""
        text = mend_numbers(self._text, self._at, error)
        if text is None:
            text = mend_name(self._text, self._at, error)
            self.mended += text is not None
        if text is None:
            return False
        self._text, self._at = text, 0
        return True

    def _byte(self, at: int) -> int:
        """The byte of the unpacked file that a character of the text is, names that were mended before it aside."""
        return self._file.position - len(self._text[at:].encode(errors="replace"))

    def _is_at_end(self, skip: re.Pattern[str] = _SPACE) -> bool:
        """Does nothing follow?"""
        while True:
            match = skip.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._ended:
                return self._at >= len(self._text)
            self._fill(_CHUNK)

    def _refuse_more(self) -> None:
        """Two ranks in one file, one behind the other: the second one would go unseen.

        Raises:
            BadTrace: something follows the document.
        """
        if not self._is_at_end():
            raise self._bad(
                f"a second document follows at byte {self._byte(self._at):,}: judge each in a file of its own"
            )

    def _peek(self, skip: re.Pattern[str] = _SPACE) -> str:
        """The next character that counts.

        Raises:
            BadTrace: there is none.
        """
        while True:
            match = skip.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                what = "cut off: the list of events has no end" if self._file.position else "empty"
                raise self._bad(what)
            self._fill(_CHUNK)

    def _fill(self, size: int) -> None:
        data = self._file.read(size)
        self._ended = not data
        self._text = self._text[self._at :] + self._decoder.decode(data, self._ended)
        self._at = 0
        if self._progress is not None:
            self._progress(self._file.done, self._file.size)

    def _open(self) -> Unpacked:
        self._file = Unpacked(self.path, self._given, _CHUNK)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text, self._at, self._ended = "", 0, False
        return self._file

    def _bad(self, detail: str) -> BadTrace:
        return BadTrace(path=self.path, detail=detail)
