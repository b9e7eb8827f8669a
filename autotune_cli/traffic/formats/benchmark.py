"""What a serving benchmark writes: one document a run, with a list of lengths.

SGLang 0.5.23: ``bench_serving --output-details`` appends a line to its file (benchmark/serving.py): ``input_lens``,
``output_lens``, ``itls``, ``request_rate``, ``max_concurrency``. vLLM (benchmarks/serve.py): ``vllm bench serve
--save-result --save-detailed`` writes the same names, and ``start_times``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from autotune_cli.measure.statistics import median
from autotune_cli.traffic.formats._fields import cached_of, count_of, parse_line, time_of
from autotune_cli.traffic.formats.base import Format, Reading
from autotune_cli.traffic.log import Keeper, Log, Request
from autotune_cli.traffic.source import Source

# Of a step. Tokens that came together are next to nothing apart.
_LEAST_S = 1e-6
# So many are enough for a median.
_MOST_TIMES = 100_000
# Between runs of a file: a server has long become idle.
_PAUSE_S = 3600.0
_KEYS = re.compile(r'"(?:input_lens|request_throughput|num_prompts|random_input_len|total_input_tokens)"\s*:')


def _read(source: Source, reading: Reading) -> Log:
    log = Log("a benchmark")
    keeper = Keeper(log)
    times: list[float] = []
    failed = 0
    flights: set[int | None] = set()
    begin = 0.0
    for number, document in _documents(source):
        requests, without = _requests(source, number, document, begin)
        failed += without
        for request in requests:
            keeper.add(request)
        begin = max((request.arrival for request in requests), default=begin) + _PAUSE_S
        flights.add(_flight(document))
        times += _token_times(document, _MOST_TIMES - len(times))
        log.timed = "start_times" in document or _rate(document) is not None
    keeper.close()
    if not log.seen:
        raise source.bad("has no request that was answered")
    known = [flight for flight in flights if flight is not None]
    log.most_in_flight = max(known) if known and None not in flights else None
    if times:
        log.step_s = median(times)
    if failed:
        log.notes.append(f"{failed:,} requests failed, and are left out")
    if not log.timed and log.most_in_flight is None:
        log.notes.append("no times of arrival, no rate: all requests are taken to wait from the beginning")
    return log


def _documents(source: Source) -> Iterator[tuple[int | None, Mapping[str, Any]]]:
    """One a line; or one in the whole file, as an editor may have laid it out."""
    lines = source.lines()
    first, text = next(lines)
    if text.strip() == "{":
        document = parse_line(source, first, "\n".join([text, *(rest for _, rest in lines)]))
        yield None, _object(source, None, document)
        return
    yield first, _object(source, first, parse_line(source, first, text))
    for number, rest in lines:
        yield number, _object(source, number, parse_line(source, number, rest))


def _object(source: Source, number: int | None, document: Any) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise source.bad("a JSON document that is no object", number)
    return document


def _requests(
    source: Source, number: int | None, document: Mapping[str, Any], begin: float
) -> tuple[list[Request], int]:
    """The requests that were answered, the first arriving at ``begin``; and how many were not."""
    prompts = _list(source, number, document, "input_lens")
    outputs = _list(source, number, document, "output_lens")
    if prompts is None or outputs is None:
        name = "input_lens" if prompts is None else "output_lens"
        fix = "repeat it with --output-details (SGLang) or --save-detailed (vLLM)"
        raise source.bad(f"a benchmark's result without {name}: {fix}", number)
    count = len(prompts)
    others = {name: _list(source, number, document, name) for name in ("start_times", "cached_tokens", "errors")}
    for name, values in (("output_lens", outputs), *others.items()):
        if values is not None and len(values) != count:
            raise source.bad(f"{len(values)} {name} for {count} input_lens", number)
    starts, cached, errors = others["start_times"], others["cached_tokens"], others["errors"]
    arrivals: list[float] = []
    if starts is not None:
        found = [time_of(source, number, f"start_times[{index}]", value) for index, value in enumerate(starts)]
        arrivals = [begin + each - min(found) for each in found]
    else:
        rate = _rate(document)
        arrivals = [begin + (index / rate if rate else 0.0) for index in range(count)]
    kept, failed = [], 0
    for index, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        if output == 0 or (errors is not None and errors[index]):
            failed += 1
            continue
        tokens = count_of(source, number, f"input_lens[{index}]", prompt)
        generated = count_of(source, number, f"output_lens[{index}]", output)
        shared = 0 if cached is None else cached[index]
        held = cached_of(source, number, f"cached_tokens[{index}]", shared, tokens)
        kept.append(Request(arrivals[index], tokens, generated, held))
    return kept, failed


def _list(source: Source, number: int | None, document: Mapping[str, Any], name: str) -> list[Any] | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise source.bad(f"{name} is no list", number)
    return value


def _rate(document: Mapping[str, Any]) -> float | None:
    """Requests a second; None: all at once, or not told."""
    rate = document.get("request_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 < rate < 1e9:
        return None
    return float(rate)


def _flight(document: Mapping[str, Any]) -> int | None:
    most = document.get("max_concurrency")
    return most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None


def _token_times(document: Mapping[str, Any], most: int) -> list[float]:
    """Seconds between the tokens of the first requests."""
    found: list[float] = []
    times = document.get("itls")
    for request in times if isinstance(times, list) else ():
        if len(found) >= most:
            break
        if isinstance(request, list):
            found += [each for each in request if isinstance(each, float) and _LEAST_S < each < 60.0]
    return found[: max(0, most)]


def _recognises(head: str) -> bool:
    return head.lstrip().startswith("{") and _KEYS.search(head) is not None


FORMAT = Format(
    rank=30,
    about="results of sglang.bench_serving --output-details and vllm bench serve --save-detailed",
    recognises=_recognises,
    read=_read,
)
