"""A table of lengths, with times of arrival or without: Azure's public traces, BurstGPT, a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from autotune_cli.traffic.formats._fields import (
    CACHED,
    OUTPUT,
    PROMPT,
    TIME,
    cached_of,
    count_of,
    find,
    plain_name,
    time_of,
)
from autotune_cli.traffic.formats.base import Format, Reading
from autotune_cli.traffic.log import Keeper, Log, Request
from autotune_cli.traffic.source import Source

_SEPARATORS = (",", ";", "\t")
# What a column may be called, for those who have other names.
_SAID = "TIMESTAMP,ContextTokens,GeneratedTokens"


def read(source: Source, reading: Reading) -> Log:
    """The first line names the columns; which they are is told by their names, in any order."""
    lines = source.lines()
    first, head = next(lines)
    separator = _separator(head)
    try:
        header = next(csv.reader(io.StringIO(head), delimiter=separator))
    except csv.Error as error:
        raise source.bad(f"not CSV: {error}", first) from None
    names = [name.strip() for name in header]
    prompt, output = find(names, PROMPT), find(names, OUTPUT)
    if prompt is None or output is None:
        lacks = " and ".join(word for word, name in (("prompt", prompt), ("output", output)) if name is None)
        raise source.bad(
            f"no column has the tokens of the {lacks}; it has {', '.join(names)[:200]}, and {_SAID} are known", first
        )
    time, cached = find(names, TIME), find(names, CACHED)
    log = Log("lengths and times" if time else "lengths", timed=time is not None)
    if time is None:
        log.notes.append("no column of times: all requests are taken to wait from the beginning")
    keeper = Keeper(log)
    columns = [None if name is None else names.index(name) for name in (prompt, output, time, cached)]
    for number, cells in _rows(source, lines, separator):
        if len(cells) != len(names):
            raise source.bad(f"{len(cells)} columns, and the first line has {len(names)}", number)
        if keeper.wants_next:
            keeper.add(_request(source, number, names, cells, columns))
        else:
            keeper.skip()
    keeper.close()
    if not log.seen:
        raise source.bad("has a line of names, and no request")
    return log


def _request(source: Source, number: int, names: list[str], cells: list[str], columns: list[int | None]) -> Request:
    """The request of a row; ``columns``: those of its prompt, output, time and tokens out of the cache."""
    prompt_at, output_at, time_at, cached_at = columns
    assert prompt_at is not None
    assert output_at is not None
    prompt = count_of(source, number, names[prompt_at], cells[prompt_at])
    output = count_of(source, number, names[output_at], cells[output_at])
    arrival = 0.0 if time_at is None else time_of(source, number, names[time_at], cells[time_at])
    held = 0 if cached_at is None else cached_of(source, number, names[cached_at], cells[cached_at], prompt)
    return Request(arrival, prompt, output, held)


def _rows(source: Source, lines: Iterator[tuple[int, str]], separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, text in lines:
        if '"' not in text:
            yield number, text.split(separator)
            continue
        try:
            yield number, next(csv.reader([text], delimiter=separator, strict=True))
        except (csv.Error, StopIteration) as error:
            raise source.bad(f"not CSV: {error}", number) from None


def _separator(head: str) -> str:
    return max(_SEPARATORS, key=lambda mark: (head.count(mark), mark == ","))


def _recognises(head: str) -> bool:
    first = head.lstrip().partition("\n")[0]
    if first[:1] in ("{", "["):
        return False
    cells = [plain_name(cell) for cell in first.split(_separator(first))]
    return len(cells) > 1 and any(cell in (*PROMPT, *OUTPUT, *TIME) for cell in cells)


FORMAT = Format(
    rank=90,
    about=f"CSV of lengths and times such as Azure's traces ({_SAID}) and BurstGPT's",
    recognises=_recognises,
    read=read,
)
