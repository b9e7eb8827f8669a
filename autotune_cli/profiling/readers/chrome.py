"""Traces of torch's profiler (Kineto), also as SGLang's ``/start_profile`` and vLLM write and merge them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.evidence import evidence_of
from autotune_cli.profiling.readers.base import TraceReader
from autotune_cli.profiling.readers.stream import EventStream, Progress
from autotune_cli.profiling.trace import NO_CORRELATION, Source, Span, Thread, Trace, Work
from autotune_cli.reading import printable

# Categories by torch version: capitals up to 1.11. https://github.com/pytorch/kineto, output_json.cpp
_WORK = {
    "kernel": Work.KERNEL,
    "gpu_memcpy": Work.COPY,
    "memcpy": Work.COPY,
    "gpu_memset": Work.FILL,
    "memset": Work.FILL,
}
_CALLS = frozenset({"cuda_runtime", "cuda_driver", "runtime", "driver"})
_CALLERS = frozenset({"cpu_op", "operator", "python_function"})
_OTHERS = frozenset({"gpu_user_annotation", "overhead", "ac2g", "trace", "cpu_instant_event"})
# Beyond what a column holds, and beyond any id.
_TOO_LARGE = 1 << 62
# Microseconds; those since 1970 are 1.8e15.
_MOST_US = 1e18
# Asked all the time, and neither launch, copy nor wait.
_IDLE_CALLS = (
    "cudaGetDevice",
    "cudaDeviceGetAttribute",
    "cudaFuncGetAttributes",
    "cudaFuncSetAttribute",
    "cudaOccupancy",
    "cudaStreamIsCapturing",
    "cudaThreadExchangeStreamCaptureMode",
    "cudaEventQuery",
    "cudaEventRecord",
    "cudaStreamWaitEvent",
    "cudaStreamGetCaptureInfo",
    "cudaGetLastError",
    "cudaPeekAtLastError",
    "cudaPointerGetAttributes",
    "cuKernelGet",
    "cuFuncGet",
)


def read_chrome(path: Path, progress: Progress | None = None, stream: BinaryIO | None = None) -> Trace:
    """Reads a trace in one pass.

    Args:
        stream: the open file, if it can't be opened again: a pipe. It is closed.

    Raises:
        BadTrace: not a trace of torch's profiler, cut off, or with events that can't be (negative durations, kernels
            without names).
    """
    return _ChromeReader(path, progress, stream).read()


class _ChromeReader:
    def __init__(self, path: Path, progress: Progress | None, stream: BinaryIO | None) -> None:
        self.path = path
        self.stream = EventStream(path, progress, stream)
        self.trace = Trace(str(path))
        self.backwards: Counter[str] = Counter()
        """Events that end before they begin, by their category."""

    def read(self) -> Trace:
        events = ours = 0
        strangers: set[str] = set()
        for event in self.stream:
            events += 1
            category = event.get("cat")
            if not isinstance(category, str):
                continue
            category = category.lower()
            known = True
            if category in _WORK:
                self._work(event, _WORK[category])
            elif category in _CALLS:
                self._call(event)
            elif category == "user_annotation":
                self._span(event)
            elif category in _CALLERS:
                self._caller(event)
            elif category not in _OTHERS:
                known = False
                if len(strangers) < 3:
                    strangers.add(category)
            ours += known
        header = self.stream.header
        if not events:
            raise BadTrace(path=self.path, detail="a trace without events")
        if not ours and "schemaVersion" not in header:
            found = f" (categories: {', '.join(sorted(strangers))})" if strangers else ""
            raise BadTrace(path=self.path, detail=f"a trace of another tool, not of torch's profiler{found}")
        self._read_header(header)
        self._read_oddities()
        return self.trace

    def _read_oddities(self) -> None:
        for what, number in self.backwards.items():
            kept = "left out" if what == "user_annotation" else "taken as of no length"
            self.trace.notes.append(f"{number} x {what} with a negative duration: {kept}")
        if self.stream.mended:
            self.trace.notes.append(
                f"{self.stream.mended} x a name with bare quotes or back-slashes: read as it stands"
            )

    def _read_header(self, header: dict[str, Any]) -> None:
        devices = header.get("deviceProperties")
        if isinstance(devices, list):
            names = [device.get("name") for device in devices if isinstance(device, dict)]
            self.trace.devices = [printable(name) for name in names if isinstance(name, str)]
        self.trace.rank = rank_in(header)

    def _work(self, event: dict[str, Any], work: Work) -> None:
        if event.get("ph") != "X":
            return
        name = event.get("name")
        if not isinstance(name, str) or not name.strip():
            raise BadTrace(
                path=self.path, detail=f"a {event['cat']} without a name (at ts {str(event.get('ts'))[:40]})"
            )
        start, duration = self._times(event, name, is_strict=work is Work.KERNEL)
        arguments = event.get("args")
        arguments = arguments if isinstance(arguments, dict) else {}
        device = _number(arguments.get("device"), _number(event.get("pid"), 0))
        trace = self.trace
        trace.gpu.add(
            work,
            trace.names(printable(name)),
            trace.sources(Source(self._group(event), device)),
            _number(arguments.get("stream"), 0),
            start,
            duration,
            _number(arguments.get("correlation"), NO_CORRELATION),
        )

    def _call(self, event: dict[str, Any]) -> None:
        name = event.get("name")
        if event.get("ph") != "X" or not isinstance(name, str) or name.startswith(_IDLE_CALLS):
            return
        start, duration = self._times(event, name, is_strict=False)
        arguments = event.get("args")
        arguments = arguments if isinstance(arguments, dict) else {}
        trace = self.trace
        trace.calls.add(
            trace.names(printable(name)),
            self._thread(event),
            start,
            duration,
            _number(arguments.get("correlation"), NO_CORRELATION),
        )

    def _span(self, event: dict[str, Any]) -> None:
        name = event.get("name")
        if event.get("ph") != "X" or not isinstance(name, str):
            return
        backwards = self.backwards.total()
        start, duration = self._times(event, name, is_strict=False)
        if self.backwards.total() > backwards:
            self.trace.left_out.add(printable(name))
            return
        self.trace.spans.append(Span(printable(name), self._thread(event), start, start + duration))

    def _caller(self, event: dict[str, Any]) -> None:
        """An operator or a Python function: kept if it tells how the kernels below it read keys."""
        name = event.get("name")
        if not isinstance(name, str) or event.get("ph") != "X":
            return
        evidence = evidence_of(name, event.get("args"))
        if evidence is None:
            return
        start, duration = self._times(event, name, is_strict=False)
        self.trace.told.append((Span(printable(name), self._thread(event), start, start + duration), evidence))

    def _times(self, event: dict[str, Any], name: str, is_strict: bool) -> tuple[float, float]:
        """Start and duration in microseconds.

        Args:
            is_strict: a negative duration is an error; else it is counted, and 0.
        """
        try:
            start, duration = float(event["ts"]), float(event["dur"])
        except OverflowError:
            raise BadTrace(
                path=self.path, detail=f"{name[:80]!r} has a start or a duration beyond all clocks"
            ) from None
        except (KeyError, TypeError, ValueError):
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} has no start or no duration") from None
        if not (math.isfinite(start) and math.isfinite(duration)):
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} has no finite start and duration")
        if abs(start) > _MOST_US or duration > _MOST_US:
            raise self._beyond_all_clocks(name)
        if duration < 0 and not is_strict:
            self.backwards[str(event["cat"]).lower()] += 1
            return start, 0.0
        if duration < 0:
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} lasts {duration} us: the recording is broken")
        return start, duration

    def _beyond_all_clocks(self, name: str) -> BadTrace:
        return BadTrace(path=self.path, detail=f"{name[:80]!r} has a start or a duration beyond all clocks")

    def _group(self, event: dict[str, Any]) -> int:
        """SGLang merges the traces of ranks with ``[TP00] `` before every process id."""
        process = event.get("pid")
        if isinstance(process, str) and process.startswith("[") and "]" in process:
            return self.trace.groups(printable(process[1 : process.index("]")]))
        return self.trace.groups("")

    def _thread(self, event: dict[str, Any]) -> int:
        process, thread = (_plain(event.get(key)) for key in ("pid", "tid"))
        return self.trace.threads(Thread(self._group(event), f"{process}/{thread}"))


def rank_in(header: dict[str, Any]) -> int | None:
    """The rank of the process that recorded, from what torch's profiler writes on top of the file."""
    distributed = header.get("distributedInfo")
    rank = distributed.get("rank") if isinstance(distributed, dict) else None
    return rank if isinstance(rank, int) else None


def _plain(value: Any) -> Any:
    """A process or a thread: a number or a text; of a list, which may be nested without end, nothing."""
    return value if isinstance(value, int | float | str) else None


def _number(value: Any, default: int) -> int:
    """Numbers come as numbers or as text; a merged trace has ``[TP00] 0`` for a device."""
    if isinstance(value, str):
        last = value.rpartition(" ")[2]
        value = int(last) if last.isdecimal() and len(last) < 20 else None
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return value if isinstance(value, int) and abs(value) < _TOO_LARGE else default


def _is_trace(path: Path) -> bool:
    """Is it more than a JSON file, such as the ``server_args.json`` that SGLang writes beside its traces?"""
    try:
        return EventStream(path).has_events()
    except BadTrace as error:
        # What is damaged is reported, not passed over.
        return "without traceEvents" not in str(error)


def _rank_of(path: Path) -> int | None:
    try:
        return rank_in(EventStream(path).read_header())
    except BadTrace:
        return None


READER = TraceReader(
    rank=90,
    endings=(".json", ".json.gz"),
    recognises=lambda start: True,
    read=read_chrome,
    is_trace=_is_trace,
    rank_of=_rank_of,
)
