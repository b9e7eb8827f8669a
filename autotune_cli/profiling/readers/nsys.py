"""SQLite exports of Nsight Systems (``nsys export --type sqlite``).

Source: "SQLite Schema Reference" and "Common SQLite Examples" of the Nsight Systems documentation. Tables are created
lazily, and columns came and went with versions: what is missing is taken as absent. Times are nanoseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.base import TraceReader
from autotune_cli.profiling.readers.sqlite import MAGIC, Tables, open_tables
from autotune_cli.profiling.readers.stream import Progress
from autotune_cli.profiling.trace import NO_CORRELATION, Source, Span, Thread, Trace, Work

# Serialized global ids hold the process in bits 24 to 47 and the thread in bits 0 to 23.
_PROCESS_SHIFT, _MASK = 24, 0xFFFFFF
# ENUM_NSYS_EVENT_TYPE: ranges of push and pop, ranges of start and end.
_RANGES = (59, 60)
# ENUM_CUDA_MEMCPY_OPER.
_COPIES = {1: "HtoD", 2: "DtoH", 3: "HtoA", 4: "AtoH", 8: "DtoD", 9: "HtoH", 10: "PtoP"}
# Calls that launch, copy, wait or capture; everything else is left out. Versions are suffixes: cudaLaunchKernel_v7000.
_CALLS = re.compile(r"Launch|Memcpy|Memset|Synchronize|BeginCapture|EndCapture")
_VERSION = re.compile(r"_v\d+(?:_ptsz)?$|_ptsz$")
_REPORT_EVERY = 1 << 16
_TABLES = frozenset(
    {
        "StringIds",
        "TARGET_INFO_GPU",
        "CUPTI_ACTIVITY_KIND_KERNEL",
        "CUPTI_ACTIVITY_KIND_MEMCPY",
        "CUPTI_ACTIVITY_KIND_MEMSET",
        "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
        "CUPTI_ACTIVITY_KIND_RUNTIME",
        "NVTX_EVENTS",
    }
)
_MOST_GPUS = 1024


def read_nsys(path: Path, progress: Progress | None = None, stream: BinaryIO | None = None) -> Trace:
    """Reads an export in one pass a table.

    Raises:
        BadTrace: another SQLite file, a damaged one, one that computes what it holds, negative durations, kernels
            without names, text in a column of numbers.
        KeyboardInterrupt: Ctrl-C, also in the middle of a query.
    """
    with open_tables(path, _TABLES, "not an export of Nsight Systems") as tables:
        return _NsysReader(path, tables, progress).read()


class _NsysReader:
    def __init__(self, path: Path, tables: Tables, progress: Progress | None) -> None:
        self.path = path
        self.tables = tables
        self.progress = progress
        self.done = self.total = 0
        self.backwards: Counter[str] = Counter()
        """Rows that end before they begin, by their table."""
        self.has_processes = True
        self.trace = Trace(str(path))

    def read(self) -> Trace:
        if "StringIds" not in self.tables.names:
            raise BadTrace(path=self.path, detail="an SQLite file, but no export of Nsight Systems (no StringIds)")
        work = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")
        graphs = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
        for table in (*work, graphs, "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS"):
            if table in self.tables.names:
                self.total += self.tables.count(table)
        # Without it kernels can't be told apart by process, so neither are calls.
        self.has_processes = "globalPid" in self.tables.columns(work[0]) or work[0] not in self.tables.names
        self._kernels(work[0])
        self._memory(work[1], Work.COPY)
        self._memory(work[2], Work.FILL)
        self._memory(graphs, Work.WHOLE_GRAPH)
        self._runtime("CUPTI_ACTIVITY_KIND_RUNTIME")
        self._ranges("NVTX_EVENTS")
        for table, number in self.backwards.items():
            kept = "left out" if table == "NVTX_EVENTS" else "taken as of no length"
            self.trace.notes.append(f"{number} x {table} with a negative duration: {kept}")
        if "TARGET_INFO_GPU" in self.tables.names and "name" in self.tables.columns("TARGET_INFO_GPU"):
            names = [name for (name,) in self.tables.rows(f"SELECT name FROM TARGET_INFO_GPU LIMIT {_MOST_GPUS}")]
            self.trace.devices = [self.tables.text("TARGET_INFO_GPU.name", name) for name in names if name]
        return self.trace

    def _kernels(self, table: str) -> None:
        columns = self.tables.columns(table)
        if not columns:
            return
        names = [name for name in ("demangledName", "shortName", "mangledName") if name in columns]
        if not names:
            raise BadTrace(path=self.path, detail=f"{table} has no column of names")
        texts = self._strings(f"SELECT {names[0]} FROM {table}")
        for row in self._rows(table, columns, names[0], "streamId", "deviceId", "globalPid", "correlationId"):
            start, end, name, stream, device, process, correlation = row
            text = texts.get(name) if isinstance(name, int) else None
            if not text or not text.strip():
                raise BadTrace(path=self.path, detail=f"a kernel without a name (at {start} ns)")
            self._add(Work.KERNEL, text, start, end, stream, device, process, correlation)

    def _memory(self, table: str, work: Work) -> None:
        columns = self.tables.columns(table)
        if not columns:
            return
        for row in self._rows(table, columns, "copyKind", "streamId", "deviceId", "globalPid", "correlationId"):
            start, end, copy, stream, device, process, correlation = row
            copy = self.tables.whole(f"{table}.copyKind", copy)
            name = {Work.COPY: f"Memcpy {_COPIES.get(copy, copy)}", Work.FILL: "Memset"}.get(work, "CUDA graph")
            self._add(work, name, start, end, stream, device, process, correlation)

    def _add(
        self, work: Work, name: str, start: Any, end: Any, stream: Any, device: Any, process: Any, correlation: Any
    ) -> None:
        trace = self.trace
        stream, device = self.tables.whole("streamId", stream), self.tables.whole("deviceId", device)
        process, correlation = self.tables.whole("globalPid", process), self.tables.whole("correlationId", correlation)
        start_us, us = self._times(name, start, end, "" if work is Work.KERNEL else "CUPTI_ACTIVITY_KIND_MEMCPY")
        trace.gpu.add(
            work,
            trace.names(name),
            trace.sources(Source(self._group(process), device or 0)),
            stream or 0,
            start_us,
            us,
            NO_CORRELATION if correlation is None else correlation,
        )

    def _runtime(self, table: str) -> None:
        columns = self.tables.columns(table)
        if not columns:
            return
        names = self._strings(f"SELECT nameId FROM {table}")
        wanted = {number: _VERSION.sub("", name) for number, name in names.items() if _CALLS.search(name)}
        listed = ",".join(str(number) for number in wanted)
        where = f"WHERE nameId IN ({listed})"
        for start, end, name, thread, correlation in self._rows(
            table, columns, "nameId", "globalTid", "correlationId", where=where
        ):
            text = wanted[name]
            thread, correlation = (
                self.tables.whole("globalTid", thread),
                self.tables.whole("correlationId", correlation),
            )
            start_us, us = self._times(text, start, end, table)
            self.trace.calls.add(
                self.trace.names(text),
                self._thread(thread),
                start_us,
                us,
                NO_CORRELATION if correlation is None else correlation,
            )

    def _ranges(self, table: str) -> None:
        columns = self.tables.columns(table)
        if not columns:
            return
        texts = self._strings(f"SELECT textId FROM {table}") if "textId" in columns else {}
        where = 'WHERE "end" IS NOT NULL' + (f" AND eventType IN {_RANGES}" if "eventType" in columns else "")
        for start, end, text, number, thread in self._rows(table, columns, "text", "textId", "globalTid", where=where):
            name = self.tables.text(f"{table}.text", text) if text else texts.get(self.tables.whole("textId", number))
            thread = self.tables.whole("globalTid", thread)
            if name:
                start_us, us = self._times(name, start, end, table)
                if end < start:
                    self.trace.left_out.add(name)
                    continue
                self.trace.spans.append(Span(name, self._thread(thread), start_us, start_us + us))

    def _times(self, name: str, start: Any, end: Any, table: str = "") -> tuple[float, float]:
        """Start and duration in microseconds.

        Args:
            table: where a negative duration is counted, and 0; empty: it is an error.
        """
        if not isinstance(start, int) or not isinstance(end, int):
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} has no start or no end")
        if end < start and table:
            self.backwards[table] += 1
            return start / 1e3, 0.0
        if end < start:
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} lasts {end - start} ns: the recording is broken")
        return start / 1e3, (end - start) / 1e3

    def _rows(self, table: str, columns: set[str], *wanted: str, where: str = "") -> Iterator[tuple[Any, ...]]:
        """``start``, ``end`` and the wanted columns; NULL for those that this version doesn't have."""
        # END is a word of SQL, so every column is quoted.
        fields = ", ".join(f'"{name}"' if name in columns else "NULL" for name in ("start", "end", *wanted))
        return self.tables.rows(f"SELECT {fields} FROM {table} {where}", self._count)

    def _count(self) -> None:
        self.done += 1
        if self.progress is not None and self.done % _REPORT_EVERY == 0:
            self.progress(min(self.done, self.total), self.total)

    def _strings(self, numbers: str) -> dict[int, str]:
        query = f"SELECT id, value FROM StringIds WHERE id IN ({numbers})"
        return {
            self.tables.whole("StringIds.id", number): self.tables.text("StringIds.value", text)
            for number, text in self.tables.rows(query)
        }

    def _group(self, process: int | None) -> int:
        label = f"process {process >> _PROCESS_SHIFT & _MASK}" if process and self.has_processes else ""
        return self.trace.groups(label)

    def _thread(self, thread: int | None) -> int:
        return self.trace.threads(Thread(self._group(thread), str(thread & _MASK if thread else 0)))


READER = TraceReader(
    rank=10,
    endings=(".sqlite",),
    recognises=lambda start: start.startswith(MAGIC),
    read=read_nsys,
    no_pipe="an SQLite file can't be read from a pipe: name the file itself",
    refused=dict.fromkeys(
        (".nsys-rep", ".qdrep"), "a report of Nsight Systems: export it first, nsys export --type sqlite FILE"
    ),
)
