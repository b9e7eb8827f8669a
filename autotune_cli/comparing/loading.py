"""Files of a side, read: result files of this program, or files of other programs. What can't be read is an error with
one line, and no file takes more memory than its size allows for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices
from autotune_cli.comparing.foreign.formats import read_document, read_folder
from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.reading import Unreadable, decode, parse_json
from autotune_cli.results.files import parse_run, read_file
from autotune_cli.results.schema import RunFile

# This program's own files have their schema_version within this, and no foreign file has one.
_PEEK_BYTES = 4096
# Strings are matched as well, so that what is in them is passed over.
_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<constant>-?Infinity|NaN)')


@dataclass(frozen=True)
class LoadedFile:
    """One file of a side, or one store."""

    path: Path
    content: RunFile | ForeignChoices


def load_side(paths: Sequence[Path]) -> list[LoadedFile]:
    """Read a side's files.

    Raises:
        BadFile: the first that can't be used, with the line or the JSON path in it; or files of both kinds on one side.
        NewerSchema: written by a newer version of this program.
    """
    files = [load(path) for path in paths]
    kinds = {type(file.content) for file in files}
    if len(kinds) > 1:
        odd = next(file.content for file in files if isinstance(file.content, ForeignChoices))
        raise BadFile(path=odd.path, detail=f"a {odd.program} cache among result files: they can't be pooled")
    return files


def load(path: Path) -> LoadedFile:
    """Read one file, or a folder that is a store of another program.

    Raises:
        BadFile: see :func:`autotune_cli.results.files.read_run`.
        NewerSchema: written by a newer version of this program.
    """
    if os.path.isdir(path):
        return LoadedFile(path, read_folder(path))
    # Once, as a pipe can't be read again.
    data = read_file(path)
    foreign = _foreign(path, data)
    if foreign is not None:
        return LoadedFile(path, foreign)
    try:
        run = parse_run(data, path)
        return LoadedFile(path, run)
    except NewerSchema:
        raise
    except BadFile as error:
        raise BadFile(path=path, detail=_with_position(data, str(error.values["detail"]))) from error


def _foreign(path: Path, data: bytes) -> ForeignChoices | None:
    """The choices if the file is of another program; None for anything else, and for what can't be parsed."""
    if b'"schema_version"' in data[:_PEEK_BYTES]:
        return None  # ours
    try:
        document = parse_json(decode(data))
    except Unreadable:
        return None  # parse_run says what is wrong
    return read_document(document, path)


def _with_position(data: bytes, detail: str) -> str:
    """Add the line or the JSON path to what is said of a file, where it is missing."""
    if detail.endswith("is not a JSON number"):
        return f"line {_line_of_constant(data)}: {detail}"
    return _with_duplicates(data, detail)


def _line_of_constant(data: bytes) -> int:
    """The first line with NaN or Infinity outside of text."""
    text = decode(data)
    found = next((match for match in _CONSTANT.finditer(text) if match["constant"]), None)
    return text.count("\n", 0, found.start() if found else 0) + 1


def _with_duplicates(data: bytes, detail: str) -> str:
    """Say which workload or candidate is there twice: the schema's message knows only that one is."""
    if "is there twice" not in detail:
        return detail
    workloads = json.loads(decode(data)).get("workloads", [])
    first: dict[tuple[str, str], int] = {}
    for index, workload in enumerate(workloads):
        slot = (workload.get("key", ""), workload.get("environment", ""))
        if slot in first:
            return f"workloads[{first[slot]}] and workloads[{index}] are the same, {slot[0]!r}: {detail}"
        first[slot] = index
        keys: dict[str, int] = {}
        for number, candidate in enumerate(workload.get("candidates", [])):
            key = candidate.get("key", "")
            if key in keys:
                return f"workloads[{index}].candidates[{keys[key]}] and [{number}] are the same, {key!r}: {detail}"
            keys[key] = number
    return detail
