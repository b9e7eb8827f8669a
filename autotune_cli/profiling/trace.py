"""What a trace holds, whoever recorded it: GPU work, the host calls that launched it, and ranges.

Columns instead of objects: millions of kernels fit into some tens of megabytes. All times are microseconds on the
clock of the recording.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from autotune_cli.profiling.evidence import Evidence

NO_CORRELATION = -1

Key = TypeVar("Key")


class Work(IntEnum):
    """What the GPU did."""

    KERNEL = 0
    COPY = 1
    FILL = 2
    WHOLE_GRAPH = 3
    """A graph's execution, recorded without its kernels."""


class Source(NamedTuple):
    """One GPU of one process."""

    group: int
    """Index of the process (or rank) in ``Trace.groups``; correlation ids are unique within it."""
    device: int


class Thread(NamedTuple):
    """One host thread."""

    group: int
    identity: str


class Span(NamedTuple):
    """A named range of a host thread: a profiler annotation or an NVTX range."""

    name: str
    thread: int
    start: float
    end: float


class Index(Generic[Key]):
    """Numbers for things, in the order they are met."""

    def __init__(self) -> None:
        self.items: list[Key] = []
        self._numbers: dict[Key, int] = {}

    def __call__(self, item: Key) -> int:
        number = self._numbers.get(item)
        if number is None:
            number = self._numbers[item] = len(self.items)
            self.items.append(item)
        return number


@dataclass
class GpuColumns:
    """GPU work, in the order it was read."""

    work: array[int] = field(default_factory=lambda: array("b"))
    name: array[int] = field(default_factory=lambda: array("i"))
    source: array[int] = field(default_factory=lambda: array("i"))
    stream: array[int] = field(default_factory=lambda: array("q"))
    start: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    correlation: array[int] = field(default_factory=lambda: array("q"))

    def add(
        self, work: Work, name: int, source: int, stream: int, start: float, duration: float, correlation: int
    ) -> None:
        self.work.append(work)
        self.name.append(name)
        self.source.append(source)
        self.stream.append(stream)
        self.start.append(start)
        self.duration.append(duration)
        self.correlation.append(correlation)


@dataclass
class CallColumns:
    """Calls into the CUDA runtime or driver, in the order they were read."""

    name: array[int] = field(default_factory=lambda: array("i"))
    thread: array[int] = field(default_factory=lambda: array("i"))
    start: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    correlation: array[int] = field(default_factory=lambda: array("q"))

    def add(self, name: int, thread: int, start: float, duration: float, correlation: int) -> None:
        self.name.append(name)
        self.thread.append(thread)
        self.start.append(start)
        self.duration.append(duration)
        self.correlation.append(correlation)


@dataclass
class Trace:
    """A recording."""

    path: str
    gpu: GpuColumns = field(default_factory=GpuColumns)
    calls: CallColumns = field(default_factory=CallColumns)
    spans: list[Span] = field(default_factory=list)
    told: list[tuple[Span, Evidence]] = field(default_factory=list)
    """Calls of operators and Python functions that tell how the kernels below them read keys."""
    left_out: set[str] = field(default_factory=set)
    """Names of ranges that end before they begin: what ran in them is unknown."""
    names: Index[str] = field(default_factory=Index)
    """Names of kernels and calls."""
    groups: Index[str] = field(default_factory=Index)
    """Processes or ranks: a label of a merged trace (``TP00``), a process of Nsight Systems, or the empty string."""
    sources: Index[Source] = field(default_factory=Index)
    threads: Index[Thread] = field(default_factory=Index)
    devices: list[str] = field(default_factory=list)
    """Names of the GPUs, as far as the recording says them."""
    rank: int | None = None
    """Of a distributed run, where the recording says it."""
    notes: list[str] = field(default_factory=list)

    def label(self, source: int) -> str:
        """What to call a GPU where there are several."""
        group, device = self.sources.items[source]
        name = self.groups.items[group]
        several = sum(other.group == group for other in self.sources.items) > 1
        return " ".join(filter(None, (name, f"GPU {device}" if several or not name else "")))
