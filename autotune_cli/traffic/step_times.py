"""How long a decode step and a prefill chunk of a server take, of traces of it.

A scheduler may launch a step while the one before it runs (SGLang's overlap scheduling, vLLM's asynchronous one), so
the length of a step's range says how long launching took. The time from one step's start to the next one's is that of a
step on the GPU: of this one, or of the one before. So it is taken of steps that stand between two of their own kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message, joined
from autotune_cli.measure.statistics import median
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.finding import find_trace, read_trace
from autotune_cli.profiling.trace import Span, Trace
from autotune_cli.traffic.formats.profiler_trace import step_parts

StepKind = Literal["decode", "prefill"]
_OPTIONS: dict[StepKind, str] = {"decode": "step_ms", "prefill": "chunk_ms"}
_CALLED: dict[StepKind, str] = {"decode": "decode step", "prefill": "prefill chunk"}
# Fewer have no middle. A profile of SGLang's is five steps of a kind unless it is told otherwise.
_LEAST = 3
# Quartiles farther apart are no one step: batches that grow, contexts of other lengths.
_ALIKE = 1.25
# Of an error: sizes with their times.
_NAMED = 4
_LEAST_MS, _MOST_MS = 1e-3, 1e7


@dataclass(frozen=True)
class StepTime:
    """A step of one kind."""

    ms: float
    """Median, to four digits."""
    note: str
    """What it is the median of."""


@dataclass
class _Sample:
    """Steps of one kind and size: requests of a decode step, new tokens of a chunk."""

    size: int
    ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Step:
    kind: StepKind | None
    """None: neither."""
    size: int
    start_us: float
    other: str = ""
    """What kind it is then."""

    def is_like(self, other: _Step) -> bool:
        # The batch of a decode step shrinks by one now and then; a chunk of fewer tokens is another one.
        return self.kind is not None and self.kind == other.kind and (self.kind == "decode" or self.size == other.size)


@dataclass
class _Seen:
    """What steps traces hold."""

    samples: dict[StepKind, dict[int, _Sample]] = field(default_factory=lambda: {"decode": {}, "prefill": {}})
    """By size."""
    there: set[StepKind] = field(default_factory=set)
    others: dict[str, None] = field(default_factory=dict)
    """Kinds of steps that are neither."""

    def add(self, row: Sequence[_Step]) -> None:
        """Take the steps of a thread, in their order."""
        self.there.update(step.kind for step in row if step.kind is not None)
        self.others |= dict.fromkeys(step.other for step in row if step.other)
        for before, step, after in zip(row, row[1:], row[2:], strict=False):
            if step.kind is not None and step.is_like(before) and step.is_like(after):
                of_size = self.samples[step.kind].setdefault(step.size, _Sample(step.size))
                of_size.ms.append((after.start_us - step.start_us) / 1e3)


def step_times(
    paths: Sequence[Path], wanted: Collection[StepKind] = ("decode", "prefill")
) -> tuple[dict[StepKind, StepTime], list[str]]:
    """The times of the kinds of steps that are wanted and can be told; and why others can't, as far as there are any.

    Args:
        paths: traces of torch's profiler or of Nsight Systems, of one server, such as SGLang's two of
            ``profile_by_stage``.

    Raises:
        BadTrace: a file that is none; a trace without steps of a server; of no kind can a time be told.
    """
    seen = _Seen()
    for path in paths:
        rows = list(_rows(_read(path)))
        if not rows:
            names = "SGLang's step[DECODE bs=8] nor vLLM's execute_context_.."
            raise BadTrace(path=path, detail=f"a trace without steps of a server: it has neither {names}")
        for row in rows:
            seen.add(row)
    found: dict[StepKind, StepTime] = {}
    refused: list[str] = []
    for kind in wanted:
        time = _time(kind, list(seen.samples[kind].values()))
        if isinstance(time, StepTime):
            found[kind] = time
        elif kind in seen.there:
            refused.append(time)
    if not found:
        but = f", but {', '.join(seen.others)} steps" if seen.others else ""
        none = f"has no {' and no '.join(_CALLED[kind] for kind in wanted)}{but}"
        raise BadTrace(path=", ".join(map(str, paths)), detail=joined("; ", refused) if refused else none)
    return found, refused


def _read(path: Path) -> Trace:
    try:
        return read_trace(find_trace(path, None))
    except BadField:
        # Which rank is no question of this command's.
        raise BadTrace(path=path, detail="several traces in this folder: name one") from None


def _rows(trace: Trace) -> Iterator[list[_Step]]:
    """The steps of each thread in their order."""

    def thread(span: Span) -> int:
        return span.thread

    steps = [span for span in trace.spans if span.name.startswith(("step[", "execute_"))]
    for _, spans in groupby(sorted(steps, key=thread), thread):
        yield [_step(span) for span in sorted(spans, key=lambda span: span.start)]


def _step(span: Span) -> _Step:
    parts = step_parts(span.name)
    if isinstance(parts, str):
        return _Step(None, 0, span.start, parts)
    if len(parts) > 1:
        return _Step(None, 0, span.start, "mixed")
    (part,) = parts
    return _Step("decode", part.batch, span.start) if part.decode else _Step("prefill", part.new, span.start)


def _time(kind: StepKind, samples: Sequence[_Sample]) -> StepTime | str:
    """The time of a step; or why it can't be told."""
    called = _CALLED[kind]
    if kind == "prefill":
        # The longest prompts are cut into chunks of one size; what is left of each has any other.
        whole = max((each for each in samples if len(each.ms) >= _LEAST), key=lambda each: each.size, default=None)
        samples = samples if whole is None else [whole]
    times = sorted(ms for each in samples for ms in each.ms)
    if len(times) < _LEAST:
        alike = "of the same number of tokens " if kind == "prefill" else ""
        return f"no time of a {called}: that takes {_LEAST + 2} {alike}in a row"
    low, middle, high = times[len(times) // 4], median(times), times[-1 - len(times) // 4]
    if not _LEAST_MS <= low <= high <= _MOST_MS:
        return f"no time of a {called}: steps that last {low:g} to {high:g} ms are none"
    if high > _ALIKE * low:
        text = "no time of a {called}: they take {low} to {high} ms ({sizes}); {option} says which is meant"
        values = {"called": called, "low": f"{low:.4g}", "high": f"{high:.4g}", "sizes": _by_size(kind, samples)}
        return Message(text, **values, option=Field(_OPTIONS[kind]))
    sizes = sorted(each.size for each in samples)
    of = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
    what = "requests" if kind == "decode" else "tokens"
    return StepTime(float(f"{middle:.4g}"), f"{called} {middle:.4g} ms: the median of {len(times)}, of {of} {what}")


def _by_size(kind: StepKind, samples: Sequence[_Sample]) -> str:
    """Times by size, for the user to choose; the most frequent ones."""
    unit = "bs" if kind == "decode" else "tokens"
    most = sorted(samples, key=lambda each: -len(each.ms))[:_NAMED]
    named = [f"{unit} {each.size}: {median(each.ms):.4g} ms" for each in sorted(most, key=lambda each: each.size)]
    return ", ".join([*named, *(["..."] if len(samples) > _NAMED else [])])
