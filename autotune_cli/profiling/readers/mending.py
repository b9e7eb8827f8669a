"""What profilers write that is no JSON, and can be read without a doubt: numbers in C's words, names as they stand."""

from __future__ import annotations

import re

# C's words for numbers that JSON doesn't have; versions of Kineto print them for an occupancy, on Windows nan(ind).
_NUMBER = re.compile(
    r'("\s*:\s*)[-+]?(?:inf(?:inity)?|nan(?:\(\w*\))?|1\.\#(?:inf|ind|qnan|snan)\d*)(?=\s*[,}\]])', re.IGNORECASE
)
# Characters around an error within which such a word stands.
_NEAR = 32
# An event as Kineto writes it. Its name ends where the next key begins; what has another event's keys in it is none.
# https://github.com/pytorch/kineto, output_json.cpp
_NAME = re.compile(
    r'(\{\s*"ph": "\w+", "cat": "\w+", "name": ")((?:(?!", "pid": |"ph": |"cat": ).)*)(?=", "pid": )', re.DOTALL
)
_BARE_BACKSLASH = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_BARE_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')
# An error shows at the latest where the key behind the name is read.
_BEHIND = 16


def mend_numbers(text: str, at: int, error: int) -> str | None:
    """The text from ``at`` on with NaN for C's words, if one of them stands where the ``error`` is; else None."""
    if not _NUMBER.search(text, max(at, error - _NEAR), error + _NEAR):
        return None
    return _NUMBER.sub(r"\1NaN", text[at:])


def mend_name(text: str, at: int, error: int) -> str | None:
    """The text from ``at`` on with the quotes and back-slashes of the event's name escaped, if they are the ``error``.

    Python functions and paths of Windows have them (``with_stack``).
    """
    match = _NAME.match(text, at)
    if match is None or error > match.end() + _BEHIND:
        return None
    name = _BARE_QUOTE.sub(r'\1\\"', _BARE_BACKSLASH.sub(r"\\\\", match.group(2)))
    return None if name == match.group(2) else f"{match.group(1)}{name}{text[match.end() :]}"
