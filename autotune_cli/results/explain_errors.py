"""A validation error as one line for people: where in the file, and what must be there."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 3
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_MUST = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "none_required": "must be null",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_LIMITS = {"greater_than": ("gt", "greater than"), "greater_than_equal": ("ge", "of at least")}


def problems(error: ValidationError, document: Any) -> str:
    """The first problems, such as ``workloads[3].candidates[0].rounds_us[2]: must be a number greater than 0``.

    Args:
        document: what was validated; pydantic's locations also name union members, which no reader of the file knows.
    """
    found: dict[str, list[str]] = {}
    for details in error.errors(include_url=False, include_input=False):
        messages = found.setdefault(json_path(details["loc"], document), [])
        message = _message(details)
        if message not in messages:
            messages.append(message)
    lines = [f"{where}: {_joined(messages)}" if where else _joined(messages) for where, messages in found.items()]
    rest = len(lines) - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def json_path(location: tuple[int | str, ...], document: Any) -> str:
    """A location as a JSON path, ``environments["1a2b"].python``; empty for the whole document."""
    path = ""
    here = document
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(here, dict) and isinstance(part, str) and (part in here or last):
            # The last part may be a field that is missing.
            here = here.get(part)
            known = _IDENTIFIER.fullmatch(part)
            path += (f".{part}" if path else part) if known else f"[{_quoted(part)}]"
        elif isinstance(here, list | tuple) and isinstance(part, int):
            here = here[part] if part < len(here) else None
            path += f"[{part}]"
    return path


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '\\"') + '"'


def _message(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _MUST:
        return _MUST[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = context[name]
        return f"must be a number {words} {limit:g}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "union_tag_invalid":
        return f"{str(context['discriminator']).strip(chr(39))} must be one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"{str(context['discriminator']).strip(chr(39))} is missing"
    if kind in ("too_short", "too_long"):
        return "has the wrong number of items"
    return str(details["msg"]).removeprefix("Value error, ")


def _joined(messages: list[str]) -> str:
    """Members of a union complain one by one: ``must be a, b or c``."""
    if len(messages) > 1 and all(message.startswith("must be ") for message in messages):
        words = [message.removeprefix("must be ") for message in messages]
        return f"must be {', '.join(words[:-1])} or {words[-1]}"
    return ", ".join(messages)
