"""Files of a side, read: result files of this program, or FlashInfer caches. Never a traceback, never a memory hog."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from autotune_cli.comparing.flashinfer_cache import FlashinferCache, is_flashinfer_cache, parse_flashinfer_cache
from autotune_cli.comparing.flashinfer_store import MANIFEST, is_manifest, read_store
from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.results.files import plain, read_run, reject_constant
from autotune_cli.results.schema import SCHEMA_VERSION, RunFile

# A run of 10,000 candidates has some 110 MB; Python needs about ten times a file's size to hold it. What is larger is
# refused by its size alone, before a byte is read.
MOST_BYTES = 256 * 2**20
# A cache of FlashInfer's has no schema_version and names its metadata first; both are within this.
_PEEK_BYTES = 4096
# How a file begins that this version wrote. Neither true nor 1.0 is a version, though both equal 1.
_OURS = re.compile(rb'\s*\{\s*"schema_version"\s*:\s*%d\s*,' % SCHEMA_VERSION)
# A picosecond, and eleven days.
LEAST_US, MOST_US = 1e-6, 1e12
# Strings are matched as well, so that what is in them is passed over.
_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<constant>-?Infinity|NaN)')


@dataclass(frozen=True)
class Source:
    """One file of a side, or one store."""

    path: Path
    content: RunFile | FlashinferCache


def load_side(paths: Sequence[Path]) -> list[Source]:
    """Read a side's files.

    Raises:
        BadFile: the first that can't be used, with the place in it; or files of both kinds on one side.
        NewerSchema: written by a newer version of this program.
    """
    sources = [load(path) for path in paths]
    kinds = {type(source.content) for source in sources}
    if len(kinds) > 1:
        odd = next(source.path for source in sources if isinstance(source.content, FlashinferCache))
        raise BadFile(path=odd, detail="a FlashInfer cache among result files: they can't be pooled")
    return sources


def load(path: Path) -> Source:
    """Read one file, or a folder that is a store of FlashInfer's.

    Raises:
        BadFile: see :func:`autotune_cli.results.files.read_run`; also too large, or no regular file.
        NewerSchema: written by a newer version of this program.
    """
    if os.path.isdir(path):
        return Source(path, read_store(path))
    _check_size(path)
    try:
        data = path.read_bytes()
    except (OSError, MemoryError):
        data = b""  # read_run says what is wrong
    foreign = _flashinfer(path, data)
    if foreign is not None:
        return Source(path, foreign)
    try:
        run = _validated(data) or read_run(path)
        _check_times(path, run)
        return Source(path, run)
    except NewerSchema:
        raise
    except BadFile as error:
        raise BadFile(path=path, detail=_with_place(path, str(error.values["detail"]))) from error
    except RecursionError as error:
        raise BadFile(path=path, detail="not a result file: nested too deeply") from error
    except MemoryError as error:
        raise BadFile(path=path, detail="too large for this machine's memory") from error


def _check_size(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise BadFile(path=path, detail=plain(error) if isinstance(error, OSError) else str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        # Reading a pipe may never end.
        raise BadFile(path=path, detail="not a regular file")
    if status.st_size > MOST_BYTES:
        raise BadFile(
            path=path,
            detail=f"{status.st_size / 2**20:,.0f} MiB, at most {MOST_BYTES // 2**20} MiB are read: not a result file?",
        )


def _check_times(path: Path, run: RunFile) -> None:
    """Refuse numbers that are no times, and whose ratios a float could not hold."""
    for index, workload in enumerate(run.workloads):
        for place, candidate in enumerate(workload.candidates):
            rounds, rough = candidate.rounds_us, candidate.rough_us
            if rounds and not LEAST_US <= min(rounds) <= max(rounds) <= MOST_US:
                odd = next(value for value in rounds if not LEAST_US <= value <= MOST_US)
                raise BadFile(path=path, detail=_no_time(index, place, "rounds_us", odd))
            if rough and not LEAST_US <= rough <= MOST_US:
                raise BadFile(path=path, detail=_no_time(index, place, "rough_us", rough))


def _no_time(workload: int, candidate: int, field: str, us: float) -> str:
    return f"workloads[{workload}].candidates[{candidate}].{field}: {us:g} us is no time of a kernel"


def _validated(data: bytes) -> RunFile | None:
    """The run in a good file of this version, parsed once; None for any other: read_run parses it twice and says why.

    What the validation alone would let pass is left to read_run too: NaN in a field that is overwritten further down,
    and a second schema_version, spelled out or with escapes.
    """
    head = _OURS.match(data)
    if head is None or data.find(b"schema_version", head.end()) >= 0 or b"NaN" in data or b"Infinity" in data:
        return None
    # Looked for in two steps, as most files have no backslash at all.
    if b"\\" in data and rb"\u00" in data:
        return None
    try:
        return RunFile.model_validate_json(data, strict=True)
    except ValidationError:
        return None


def _flashinfer(path: Path, data: bytes) -> FlashinferCache | None:
    """The choices if the file is one of FlashInfer's; None for anything else, and for what can't be parsed."""
    if b'"schema_version"' in data[:_PEEK_BYTES]:
        return None  # ours
    try:
        document = json.loads(data, parse_constant=reject_constant)
    except (ValueError, RecursionError, MemoryError):
        return None  # read_run says what is wrong
    if path.name == MANIFEST and is_manifest(document):
        return read_store(path.parent)
    return parse_flashinfer_cache(document, path) if is_flashinfer_cache(document) else None


def _with_place(path: Path, detail: str) -> str:
    """Add the place to what is said of a file, where it is missing."""
    if detail.endswith("is not a JSON number"):
        return f"line {_line_of_constant(path)}: {detail}"
    return _with_duplicates(path, detail)


def _line_of_constant(path: Path) -> int:
    """The first line with NaN or Infinity outside of text."""
    text = path.read_text(encoding="utf-8-sig")
    found = next((match for match in _CONSTANT.finditer(text) if match["constant"]), None)
    return text.count("\n", 0, found.start() if found else 0) + 1


def _with_duplicates(path: Path, detail: str) -> str:
    """Say which workload or candidate is there twice: the schema's message knows only that one is."""
    if "is there twice" not in detail:
        return detail
    workloads = json.loads(path.read_bytes()).get("workloads", [])
    first: dict[tuple[str, str], int] = {}
    for index, workload in enumerate(workloads):
        slot = (workload.get("key", ""), workload.get("environment", ""))
        if slot in first:
            return f"workloads[{first[slot]}] and workloads[{index}] are the same, {slot[0]!r}: {detail}"
        first[slot] = index
        keys: dict[str, int] = {}
        for place, candidate in enumerate(workload.get("candidates", [])):
            key = candidate.get("key", "")
            if key in keys:
                return f"workloads[{index}].candidates[{keys[key]}] and [{place}] are the same, {key!r}: {detail}"
            keys[key] = place
    return detail
