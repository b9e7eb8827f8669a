"""Which reader a file needs, and which file of a folder a rank wrote."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import re
import stat
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast

from autotune_cli.errors import BadField
from autotune_cli.profiling import readers
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.base import START, TraceReader
from autotune_cli.profiling.readers.stream import Progress
from autotune_cli.profiling.trace import Trace
from autotune_cli.reading import Unreadable, open_input, plain

# Traces of an H200 that come along, for people without a GPU.
EXAMPLES = {"example": "paged.json.gz", "example-ragged": "ragged.json.gz"}

# vLLM: ..._tp0_..._rank3.<time>.pt.trace.json.gz; SGLang: <id>-TP-3-DP-0.trace.json.gz; Megatron: rank-3.json.
_RANK_IN_NAME = (re.compile(r"rank[-_]?(\d+)", re.I), re.compile(r"TP-(\d+)"), re.compile(r"(?:^|[_-])tp(\d+)", re.I))
_FRONT_END = re.compile(r"\basync_llm\b")


@cache
def trace_readers() -> tuple[TraceReader, ...]:
    """Those of the files in this folder, in the order in which they are asked. A file without ``READER`` is for what
    readers share."""
    names = [module.name for module in pkgutil.iter_modules(readers.__path__)]
    modules = [importlib.import_module(f"{readers.__name__}.{name}") for name in names]
    found: list[TraceReader] = [module.READER for module in modules if hasattr(module, "READER")]
    return tuple(sorted(found, key=lambda reader: reader.rank))


def find_trace(path: Path, rank: int | None) -> Path:
    """The file to read: the example's, the path itself, or the one of a folder that ``rank`` wrote.

    Raises:
        BadTrace: nothing there, a folder without traces.
        BadField: a folder with several traces and no rank, or none of that rank.
    """
    # os.path rather than Path: a name that is too long is no folder, not an exception.
    if str(path) in EXAMPLES and not os.path.exists(path):
        return Path(str(resources.files("autotune_cli.profiling").joinpath("examples", EXAMPLES[str(path)])))
    if not os.path.isdir(path):
        return path
    endings = tuple(sorted(ending for reader in trace_readers() for ending in reader.endings))
    # SGLang puts the merged trace beside those that it was made of.
    try:
        files = sorted(file for file in path.iterdir() if file.name.endswith(endings) and os.path.isfile(file))
    except OSError as error:
        raise BadTrace(path=path, detail=f"can't be read: {plain(error)}") from None
    single = [file for file in files if not file.name.startswith("merged-")] or files
    # Beside the traces of its workers vLLM writes one of its front end, which uses no GPU.
    single = [file for file in single if not _FRONT_END.search(file.name)] or single
    if len(single) > 1:
        single = [file for file in single if _reader_of(file).is_trace(file)] or single
    if not single:
        raise BadTrace(path=path, detail=f"no trace in this folder (files that end in {', '.join(endings)})")
    if len(single) == 1:
        return single[0]
    ranks = [(_rank_of(file), file) for file in single]
    known = sorted({number for number, _ in ranks if number is not None})
    if not known:
        raise BadTrace(
            path=path, detail=f"{len(single)} traces whose names tell no rank: name one, such as {single[-1]}"
        )
    listed = ", ".join(map(str, known))
    if rank is None:
        raise BadField(field="rank", detail=f"{path} holds {len(single)} traces, of ranks {listed}: choose one")
    chosen = [file for number, file in ranks if number == rank]
    if not chosen:
        raise BadField(field="rank", detail=f"no trace of rank {rank} in {path} (ranks {listed})")
    if len(chosen) > 1:
        raise BadField(
            field="rank", detail=f"{len(chosen)} traces of rank {rank} in {path}: name a file, such as {chosen[-1]}"
        )
    return chosen[0]


def read_trace(path: Path, progress: Progress | None = None) -> Trace:
    """Reads a trace of any kind known.

    Raises:
        BadTrace: of no kind known, or broken.
    """
    try:
        stream = open_input(path)
    except Unreadable as error:
        raise BadTrace(path=path, detail=f"can't be read: {error}") from None
    try:
        start = cast("io.BufferedReader", stream).peek(START)[:START]
        is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, Unreadable) as error:
        stream.close()
        detail = plain(error) if isinstance(error, OSError) else error
        raise BadTrace(path=path, detail=f"can't be read: {detail}") from None
    reader = next(reader for reader in trace_readers() if reader.recognises(start))
    if is_file or reader.no_pipe:
        stream.close()
    for refused in (reader.refused for reader in trace_readers()):
        for ending, detail in refused.items():
            if path.name.endswith(ending):
                raise BadTrace(path=path, detail=detail)
    if not start:
        raise BadTrace(path=path, detail="empty")
    if not is_file and reader.no_pipe:
        raise BadTrace(path=path, detail=reader.no_pipe)
    return reader.read(path, progress, None if is_file else stream)


def sources_of_rank(trace: Trace, rank: int | None) -> Sequence[int]:
    """The GPUs of a trace to judge: all of them without a rank.

    A rank is, in this order: the one that the recording names as its own, the number in the label of a merged trace
    (``TP03``), the position of the process among those of the recording, the GPU's number.

    Raises:
        BadField: no such rank.
    """
    every = range(len(trace.sources.items))
    if rank is None:
        return every
    labels = {number: label for number, label in enumerate(trace.groups.items) if label}
    used = sorted({source.group for source in trace.sources.items}, key=lambda group: _by_number(labels.get(group, "")))
    if trace.rank is not None and len(used) < 2:
        if trace.rank != rank:
            raise BadField(field="rank", detail=f"{trace.path} is of rank {trace.rank}, not {rank}")
        return every
    if len(used) > 1:
        numbers = {group: _label_rank(labels.get(group, "")) for group in used}
        if None in numbers.values() or len(set(numbers.values())) < len(used):
            numbers = {group: index for index, group in enumerate(used)}
        chosen = [source for source in every if numbers[trace.sources.items[source].group] == rank]
        known = sorted(number for number in numbers.values() if number is not None)
    else:
        chosen = [source for source in every if trace.sources.items[source].device == rank]
        known = sorted(source.device for source in trace.sources.items)
    if not chosen:
        raise BadField(field="rank", detail=f"no rank {rank} in {trace.path} (ranks {', '.join(map(str, known))})")
    return chosen


def _by_number(label: str) -> tuple[int, str]:
    return len(label), label


def _label_rank(label: str) -> int | None:
    match = re.search(r"TP(\d+)", label)
    return int(match.group(1)) if match else None


def _reader_of(file: Path) -> TraceReader:
    """By the ending of its name."""
    return next(reader for reader in trace_readers() if file.name.endswith(reader.endings))


def _rank_of(file: Path) -> int | None:
    for pattern in _RANK_IN_NAME:
        match = pattern.search(file.name)
        if match:
            return int(match.group(1))
    return _reader_of(file).rank_of(file)
