"""JSON lines, a request each: SGLang's request log and its export of metrics, Mooncake's traces, any with lengths.

SGLang 0.5.23: ``--log-requests --log-requests-format json`` (utils/request_logger.py, whose lines begin with a date in
brackets) writes ``request.finished`` events; ``--export-metrics-to-file`` (observability/request_metrics_exporter.py)
writes what is in an answer's ``meta_info``. Mooncake: milliseconds, and hashes of the prompt's blocks of 512 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autotune_cli.measure.statistics import median
from autotune_cli.traffic.formats._fields import (
    CACHED,
    OUTPUT,
    PROMPT,
    TIME,
    cached_of,
    count_of,
    find,
    parse_line,
    plain_name,
    time_of,
)
from autotune_cli.traffic.formats.base import Format, Reading
from autotune_cli.traffic.log import Keeper, Log, Request
from autotune_cli.traffic.source import Source

# "[2026-11-27 10:00:00] " before SGLang's documents, "[2026-11-27 10:00:00 TP0] " before its other words.
_DATE = re.compile(r"^\s*\[[0-9]{4}-[0-9]{2}-[0-9]{2}[^\]]{0,60}\]\s*")
_FINISHED = "request.finished"
_BLOCK = 512
# More than a year: of a request, no time that a server measured.
_LONGEST_S = 1e8
# So many are enough for a median.
_MOST_SPEEDS = 10_000
# Tokens a second of one request. What is beyond was not measured: SGLang divides by times that may be next to nothing.
_SLOWEST, _FASTEST = 1.0 / 60.0, 1e6


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._log = Log("requests")
        self._timed: bool | None = None
        self._texts = 0
        self._speeds: list[float] = []
        self._blocks: set[object] = set()

    def read(self) -> Log:
        log, source = self._log, self._source
        keeper = Keeper(log)
        for number, text in source.lines():
            rest = _DATE.sub("", text, count=1)
            if not rest.lstrip().startswith("{"):
                # A server's other words, where they go to the same place as its log.
                if rest == text:
                    raise source.bad("neither a JSON object nor a line of a server's log", number)
                self._texts += 1
                continue
            document = parse_line(source, number, rest)
            request = self._request(number, document)
            if request is not None:
                keeper.add(request)
        keeper.close()
        if not log.seen:
            raise source.bad("has no request that came to an end" if self._texts else "has no request")
        log.timed = bool(self._timed)
        if not log.timed:
            log.notes.append("no times of arrival: all requests are taken to wait from the beginning")
        if self._texts:
            log.notes.append(f"{self._texts:,} lines that are no JSON are passed over")
        if self._speeds:
            log.step_s = 1.0 / median(self._speeds)
        return log

    def _request(self, number: int, document: Any) -> Request | None:
        """None: an event of another kind."""
        if not isinstance(document, dict):
            raise self._source.bad("a JSON document that is no object", number)
        if isinstance(document.get("event"), str):
            if document["event"] != _FINISHED:
                return None
            return self._finished(number, document)
        told = document.get("meta_info")
        row = told if isinstance(told, dict) else document
        return self._of(number, row, row)

    def _finished(self, number: int, document: Mapping[str, Any]) -> Request:
        answer = document.get("out")
        told = answer.get("meta_info") if isinstance(answer, dict) else None
        if not isinstance(told, dict):
            raise self._source.bad(f"a {_FINISHED} event without out.meta_info", number)
        if "request_received_ts" in told:
            return self._of(number, told, told)
        # The event is written at the request's end.
        end = time_of(self._source, number, "timestamp", document.get("timestamp"))
        taken = told.get("e2e_latency", 0.0)
        if isinstance(taken, bool) or not isinstance(taken, int | float):
            taken = 0.0
        if not abs(taken) <= _LONGEST_S:
            raise self._source.bad(f"e2e_latency {taken!r:.40} is no time", number)
        begun = end - taken
        return self._of(number, told, {"timestamp": begun})

    def _of(self, number: int, row: Mapping[str, Any], timed: Mapping[str, Any]) -> Request:
        source = self._source
        names = find(row, PROMPT), find(row, OUTPUT)
        for name, word in zip(names, ("prompt", "output"), strict=True):
            if name is None:
                has = ", ".join(map(str, row))[:200]
                raise source.bad(f"no field has the tokens of the {word}; it has {has}", number)
        prompt = count_of(source, number, str(names[0]), row[str(names[0])])
        output = count_of(source, number, str(names[1]), row[str(names[1])])
        time = find(timed, TIME)
        if self._timed is None:
            self._timed = time is not None
        if self._timed != (time is not None):
            which = "a time, and those above have none" if time else "no time of arrival, and those above have one"
            raise source.bad(f"the request has {which}", number)
        arrival = 0.0 if time is None else self._arrival(number, row, time, timed[time])
        cached = find(row, CACHED)
        held = 0 if cached is None else cached_of(source, number, cached, row[cached], prompt)
        if "hash_ids" in row:
            held = min(self._shared(row["hash_ids"]), prompt - 1)
        speed = row.get("decode_throughput")
        if isinstance(speed, float) and _SLOWEST < speed < _FASTEST and len(self._speeds) < _MOST_SPEEDS:
            self._speeds.append(speed)
        return Request(arrival, prompt, output, held)

    def _arrival(self, number: int, row: Mapping[str, Any], name: str, value: object) -> float:
        found = time_of(self._source, number, name, value)
        # Mooncake's traces begin at 0 and count milliseconds.
        return found / 1e3 if "hash_ids" in row and isinstance(value, int) else found

    def _shared(self, hashes: object) -> int:
        """Tokens of a prompt's beginning that were in a prompt before, in a cache that forgets nothing."""
        if not isinstance(hashes, list):
            return 0
        shared = 0
        known = [each for each in hashes if isinstance(each, int | str)]
        for each in known:
            if each not in self._blocks:
                break
            shared += _BLOCK
        self._blocks.update(known)
        return shared


def _read(source: Source, reading: Reading) -> Log:
    return _Reader(source).read()


def _recognises(head: str) -> bool:
    for line in head.splitlines():
        rest = _DATE.sub("", line, count=1).lstrip()
        if rest.startswith("{") and rest.rstrip().endswith("}"):
            fields = {plain_name(name) for name in re.findall(r'"([^"\\]{1,40})"\s*:', rest)}
            return "event" in fields or bool(fields & {*PROMPT, *OUTPUT})
        if rest.startswith("{") and re.search(r'"(?:event|request_parameters|prompt_tokens|input_length)"', rest):
            return True
    return False


FORMAT = Format(
    rank=40,
    about="JSON lines of requests with lengths (SGLang's --log-requests-format json, --export-metrics-to-file, "
    "Mooncake's traces)",
    recognises=_recognises,
    read=_read,
)
