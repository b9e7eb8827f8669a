"""A trace's columns as numpy arrays, each piece of GPU work joined with the host call that launched it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from autotune_cli.profiling.ranges import NOWHERE, Timeline
from autotune_cli.profiling.trace import NO_CORRELATION, Span, Trace, Work

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_GRAPH_LAUNCH = re.compile(r"(?:cuda|cu|hip)GraphLaunch")
_KERNEL_LAUNCH = re.compile(r"(?:cuda|cu|hip)(?:ExtModule|Module)?Launch(?:Cooperative)?Kernel")
_LAUNCH = re.compile(r"(?:cuda|cu|hip)\w*Launch")
# cudaMemcpy without Async waits as well.
_WAIT = re.compile(r"(?:cuda|cu|hip)\w*Synchronize|(?:cuda|hip)Memcpy$|cuMemcpy(?:DtoH|HtoD)(?:_v2)?$")
_BEGIN = re.compile(r"(?:cuda|cu|hip)StreamBeginCapture")
_END = re.compile(r"(?:cuda|cu|hip)StreamEndCapture")
_TO_HOST = re.compile(r"Memcpy (?:DtoH|AtoH)")


class Correlated:
    """GPU work and calls, joined."""

    def __init__(self, trace: Trace) -> None:
        gpu, calls = trace.gpu, trace.calls
        self.trace = trace
        self.names = trace.names.items
        self.name, self.source, self.stream = _ints(gpu.name), _ints(gpu.source), _ints(gpu.stream)
        self.start, self.duration = _floats(gpu.start), _floats(gpu.duration)
        work = _ints(gpu.work)
        self.is_kernel: Flags = work == Work.KERNEL
        self.is_whole_graph: Flags = work == Work.WHOLE_GRAPH
        self.is_to_host: Flags = (work == Work.COPY) & self._named(_TO_HOST, self.name)

        self.call_name, self.call_thread = _ints(calls.name), _ints(calls.thread)
        self.call_start, self.call_us = _floats(calls.start), _floats(calls.duration)
        self.call_group = _table([thread.group for thread in trace.threads.items], self.call_thread)
        self.is_graph_launch = self._named(_GRAPH_LAUNCH, self.call_name)
        self.is_launch = self._named(_LAUNCH, self.call_name)
        self.is_wait = self._named(_WAIT, self.call_name)

        self.call: Ints = self._join(_ints(gpu.correlation), _ints(calls.correlation))
        """The call that launched each piece of work, or -1."""
        self.is_captured, self.is_lost, self.is_empty_graph = self._launches_without_kernels()

    def of_call(self, values: Ints, otherwise: int) -> Ints:
        """A value of each call, handed on to the work it launched."""
        found = np.full(len(self.call), otherwise, dtype=np.int64)
        joined = self.call >= 0
        found[joined] = values[self.call[joined]]
        return found

    def call_sources(self, chosen: Sequence[int]) -> Ints:
        """The GPU each call worked for; calls without GPU work go to the first chosen one of their process."""
        sources = np.full(len(self.call_name), NOWHERE, dtype=np.int64)
        if not self.trace.sources.items:
            sources[:] = 0
        for number in reversed(chosen):
            sources[self.call_group == self.trace.sources.items[number].group] = number
        joined = self.call >= 0
        sources[self.call[joined]] = self.source[joined]
        return sources

    def locate(self, spans: Sequence[Span], number: Callable[[Span], int], innermost: bool) -> Ints:
        """The number of the range around each call: on its own thread, else on any thread of its process."""
        found = np.full(len(self.call_name), NOWHERE, dtype=np.int64)
        threads = self.trace.threads.items
        by_thread: dict[int, list[Span]] = {}
        by_group: dict[int, list[Span]] = {}
        for span in spans:
            by_thread.setdefault(span.thread, []).append(span)
            by_group.setdefault(threads[span.thread].group, []).append(span)
        for keys, grouped in ((self.call_thread, by_thread), (self.call_group, by_group)):
            for key, own in grouped.items():
                rows = np.flatnonzero((keys == key) & (found == NOWHERE))
                found[rows] = Timeline(own, number, innermost).at(self.call_start[rows])
        return found

    def _join(self, keys: Ints, call_keys: Ints) -> Ints:
        """Correlation ids are unique within a process."""
        groups = _table([source.group for source in self.trace.sources.items], self.source)
        found = np.full(len(keys), -1, dtype=np.int64)
        for group in np.unique(groups):
            rows = np.flatnonzero((groups == group) & (keys != NO_CORRELATION))
            calls = np.flatnonzero((self.call_group == group) & (call_keys != NO_CORRELATION))
            if not len(rows) or not len(calls):
                continue
            # Where a runtime call and the driver call inside it share an id, either lies in the same range.
            calls = calls[np.argsort(call_keys[calls], kind="stable")]
            index = np.minimum(np.searchsorted(call_keys[calls], keys[rows]), len(calls) - 1)
            hit = call_keys[calls[index]] == keys[rows]
            found[rows[hit]] = calls[index[hit]]
        return found

    def _launches_without_kernels(self) -> tuple[Flags, Flags, Flags]:
        """Launches that a capture took, other launches whose kernel is missing, graph launches without any work."""
        calls = len(self.call_name)
        has_kernel, has_work = np.zeros(calls, dtype=np.bool_), np.zeros(calls, dtype=np.bool_)
        has_kernel[self.call[(self.call >= 0) & self.is_kernel]] = True
        # A graph may hold copies alone; one recorded as a whole shows none of its kernels.
        has_work[self.call[(self.call >= 0) & ~self.is_whole_graph]] = True
        begins, ends = self._named(_BEGIN, self.call_name), self._named(_END, self.call_name)
        inside = np.zeros(calls, dtype=np.bool_)
        for thread in np.unique(self.call_thread[begins]):
            rows = np.flatnonzero(self.call_thread == thread)
            rows = rows[np.argsort(self.call_start[rows], kind="stable")]
            inside[rows] = np.cumsum(begins[rows].astype(np.int64) - ends[rows].astype(np.int64)) > 0
        bare = self._named(_KERNEL_LAUNCH, self.call_name) & ~has_kernel
        return bare & inside, bare & ~inside, self.is_graph_launch & ~has_work

    def _named(self, pattern: re.Pattern[str], column: Ints) -> Flags:
        fits = np.zeros(max(1, len(self.names)), dtype=np.bool_)
        for number in np.unique(column):
            fits[number] = pattern.match(self.names[number]) is not None
        return fits[column]


def _ints(column: array[int]) -> Ints:
    # Narrow columns are widened one at a time; they are small beside the text they came from.
    return np.asarray(column, dtype=np.int64)


def _floats(column: array[float]) -> Floats:
    return np.asarray(column, dtype=np.float64)


def _table(values: Sequence[int], column: Ints) -> Ints:
    return np.asarray([*values, 0], dtype=np.int64)[column]
