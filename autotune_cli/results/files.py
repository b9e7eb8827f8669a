"""Result files: read with a clear refusal, and their text."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from autotune_cli.errors import BadFile
from autotune_cli.reading import Unreadable, decode, read_bytes, reject_constant, short_number
from autotune_cli.results.explain_errors import problems
from autotune_cli.results.schema import RunFile
from autotune_cli.results.times import check_times
from autotune_cli.results.upgrade import upgrade

# A list or object without lists or objects inside stays on one line up to this width: one record a line is easy to
# read in a diff, and half the size of one number a line.
_LINE = 110
_one_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
# An identity has some dozens of fields.
_MOST_FIELDS = 10_000
# The largest float has as many. Python prints no whole number of more than 4300 digits.
_MOST_BITS = 1024
_TO_PREPARE = frozenset({dict, list, int})


def read_run(path: Path) -> RunFile:
    """The run or cache in a file, upgraded if it is older.

    Raises:
        NewerSchema: written by a newer version of this program.
        BadFile: missing, unreadable, too large, not JSON, not a run, or with times that can be none; the message says
            where.
    """
    return parse_run(read_file(path), path)


def read_file(path: Path) -> bytes:
    """The bytes of a result file, or of a pipe.

    Raises:
        BadFile: see :func:`autotune_cli.reading.read_bytes`.
    """
    try:
        return read_bytes(path)
    except Unreadable as error:
        raise BadFile(path=path, detail=error) from error


def parse_run(data: bytes, path: Path) -> RunFile:
    """The run or cache in the bytes of a file.

    Args:
        path: for messages.

    Raises:
        NewerSchema, BadFile: see :func:`read_run`.
    """
    if not data.strip():
        raise BadFile(path=path, detail="the file is empty")
    try:
        document = prepared(_parse(data, path))
        document, changed = upgrade(document, path)
        # Python's objects rather than text: an error on text holds a copy of all that is around its place. Strict: "3"
        # is no number, nor is a list a tuple, which :func:`prepared` has seen to.
        run = RunFile.model_validate(prepared(document) if changed else document, strict=True)
        check_times(run, path)
        return run
    except Unreadable as error:
        raise BadFile(path=path, detail=error) from error
    except ValidationError as error:
        raise BadFile(path=path, detail=problems(error, document)) from None
    except RecursionError as error:
        raise BadFile(path=path, detail="not a result file: nested too deeply") from error
    except MemoryError as error:
        raise BadFile(path=path, detail="too large for this machine's memory") from error


def prepared(value: Any) -> Any:
    """A parsed JSON document for strict validation: with tuples for its lists. Objects are changed in place.

    Raises:
        Unreadable: an object of more fields than any of a result file has (pydantic keeps an error for each that it
            doesn't know, and can't be told to stop), or a whole number that no float holds.
        RecursionError: nested too deeply.
    """
    if type(value) is list:
        return tuple([prepared(item) if type(item) in _TO_PREPARE else item for item in value])
    if type(value) is dict:
        if len(value) > _MOST_FIELDS:
            raise Unreadable(f"not a result file: an object with {len(value):,} fields")
        for key, item in value.items():
            if type(item) in _TO_PREPARE:
                value[key] = prepared(item)
    elif type(value) is int and value.bit_length() > _MOST_BITS:
        raise Unreadable("a number with hundreds of digits")
    return value


def dump_run(run: RunFile) -> str:
    """The text of a result file: JSON, one space of indentation, short records on one line.

    Text that isn't valid Unicode (a file name on the command line may not be) has ``?`` for what can't be written.
    """
    return _valid_text(_lines(run.model_dump(mode="python"), "") + "\n")


def dump_line(record: BaseModel) -> str:
    """A record as JSON on one line, without the line's end."""
    return _valid_text(_one_line(record.model_dump(mode="python")))


# A document may end in the middle of one. An empty rest begins all of them.
_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")


def _parse(data: bytes, path: Path) -> object:
    try:
        # Three times as fast as json, and it refuses halves of characters; but what it says is of less use.
        return from_json(data.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        refusal = str(error)
    text = decode(data)
    try:
        json.loads(text, parse_constant=reject_constant)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        begun = any(word.startswith(rest) for word in _LITERALS)
        cut = begun or error.msg.startswith("Unterminated string")
        where = f"line {error.lineno}, column {error.colno}"
        detail = f"cut short: the JSON ends in the middle ({where})" if cut else f"not JSON: {where}: {error.msg}"
        raise BadFile(path=path, detail=detail) from error
    except RecursionError as error:
        raise Unreadable("not a result file: nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {short_number(error)}") from error
    if refusal.startswith("recursion"):
        refusal = "nested too deeply"
    # json takes a \\ud800 without its other half, which no file can hold.
    refusal = refusal.replace("unexpected end of hex escape", "half of a character")
    raise Unreadable(f"not JSON: {refusal}")


def _valid_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _lines(value: Any, indent: str) -> str:
    if not isinstance(value, dict | list | tuple) or not value:
        return _one_line(value)
    items = value.values() if isinstance(value, dict) else value
    if not any(isinstance(item, dict | list | tuple) and item for item in items):
        line = _one_line(value)
        if len(indent) + len(line) <= _LINE or all(type(item) in (int, float) for item in items):
            return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{_one_line(key)}: {_lines(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _lines(item, inner) for item in value) + f"\n{indent}]"
