"""What a server sends, read: server-sent events, and OpenAI's objects in them. No sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DONE = "[DONE]"
_LONGEST = 200
# Characters of an event: no more is kept.
_MOST_EVENT = 1 << 20
# Of one answer or prompt: contexts hold some millions.
_MOST_TOKENS = 1 << 40
USAGE_STATUS = frozenset({400, 401, 403, 404, 405, 413, 415, 422})
"""What a server that has no such path, or refuses who asks, or what is asked, answers with."""


class BadAnswer(Exception):
    """What is wrong with what a server sent."""

    is_usage = True
    """Where it is all that came: is it likely to be what was asked, rather than the server?"""


class ToldError(BadAnswer):
    """A server tells an error in its stream. It is its own unless it says otherwise."""

    def __init__(self, detail: str, status: object) -> None:
        super().__init__(detail)
        self.is_usage = type(status) is int and status in USAGE_STATUS


@dataclass
class Events:
    """Server-sent events (WHATWG HTML, 9.2.6), line by line. Names, ids and comments are passed over."""

    _data: list[str] = field(default_factory=list)
    _size: int = 0

    def feed(self, line: bytes) -> str | None:
        """Take a line with its end; returns an event's data with the empty line that ends it.

        Raises:
            BadAnswer: the event has no end.
        """
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        if not text:
            data, self._data, self._size = self._data, [], 0
            return "\n".join(data) if data else None
        name, _, value = text.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
            self._size += len(value) + 1
            if self._size > _MOST_EVENT:
                raise BadAnswer(f"an event of more than {_MOST_EVENT} characters")
        return None


@dataclass(frozen=True)
class Chunk:
    """One event of a streamed answer."""

    has_text: bool
    is_last: bool
    """The server says why it ended."""
    prompt_tokens: int | None = None
    tokens: int | None = None
    """Of the whole answer, where the event tells the usage."""


def read_chunk(data: str, api: str) -> Chunk:
    """An event's data as a chunk of ``completions`` or ``chat``.

    Raises:
        BadAnswer: it is none. ToldError: the server tells an error in it.
    """
    if data.strip() == DONE:
        return Chunk(False, True)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswer(f"an event that is no JSON: {short(data)}") from None
    if not isinstance(document, dict):
        raise BadAnswer(f"an event that is no object: {short(data)}")
    if (error := error_in(document)) is not None:
        told = document["error"] if isinstance(document.get("error"), dict) else document
        raise ToldError(f"an error in the stream: {error}", told.get("code"))
    choices = document.get("choices")
    if not isinstance(choices, list):
        raise BadAnswer(f"an event without choices: {short(data)}")
    usage = document.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    return Chunk(
        has_text=bool(_text(choice, api)),
        is_last=choice.get("finish_reason") is not None,
        prompt_tokens=_count(counts, "prompt_tokens"),
        tokens=_count(counts, "completion_tokens"),
    )


def _text(choice: Mapping[str, Any], api: str) -> object:
    if api == "completions":
        return choice.get("text")
    delta = choice.get("delta")
    parts = delta if isinstance(delta, dict) else {}
    # What a model thinks is generated like what it says.
    return parts.get("content") or parts.get("reasoning_content") or parts.get("reasoning")


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    # bool is a kind of int; a number that no server can have counted may not fit a float.
    return value if type(value) is int and 0 < value <= _MOST_TOKENS else None


def error_in(document: Mapping[str, Any]) -> str | None:
    """The message of OpenAI's error object, or of one that vLLM or FastAPI sends; None: it is no error."""
    error = document.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return short(error["message"])
    if isinstance(error, str):
        return short(error)
    if document.get("object") == "error" and isinstance(document.get("message"), str):
        return short(document["message"])
    return None


def error_body(body: bytes) -> str:
    """What the body of a refusal says, in one line; empty: nothing that a person can read."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else short(text)
    if not isinstance(document, dict):
        return short(text)
    detail = document.get("detail")
    return error_in(document) or short(detail if isinstance(detail, str) else text)


def model_names(body: bytes) -> list[str]:
    """Names in the answer of ``/v1/models``.

    Raises:
        BadAnswer: it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("its /v1/models is no JSON") from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise BadAnswer("its /v1/models lists no models")
    return [each["id"] for each in data if isinstance(each, dict) and isinstance(each.get("id"), str)]


def short(text: str) -> str:
    """One line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
