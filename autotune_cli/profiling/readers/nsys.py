"""SQLite exports of Nsight Systems (``nsys export --type sqlite``).

Source: "SQLite Schema Reference" and "Common SQLite Examples" of the Nsight Systems documentation. Tables are created
lazily, and columns came and went with versions: what is missing is taken as absent. Times are nanoseconds.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.stream import Progress
from autotune_cli.profiling.trace import NO_CORRELATION, Source, Span, Thread, Trace, Work

MAGIC = b"SQLite format 3\x00"

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


def read_nsys(path: Path, progress: Progress | None = None) -> Trace:
    """Reads an export in one pass a table.

    Raises:
        BadTrace: another SQLite file, a damaged one, negative durations, kernels without names.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as database:
            return _Reader(path, database, progress).read()
    except sqlite3.Error as error:
        raise BadTrace(path=path, detail=f"a damaged SQLite file: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        # SQLite takes text and numbers of any size for a column of integers.
        raise BadTrace(path=path, detail=f"values that no export holds: {error}") from None


class _Reader:
    def __init__(self, path: Path, database: sqlite3.Connection, progress: Progress | None) -> None:
        self.path = path
        self.database = database
        self.progress = progress
        self.done = self.total = 0
        self.has_processes = True
        self.trace = Trace(str(path), "Nsight Systems")
        # Names of files and kernels may hold any bytes.
        database.text_factory = lambda data: data.decode(errors="replace")
        self.tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table')")}

    def read(self) -> Trace:
        if "StringIds" not in self.tables:
            raise BadTrace(path=self.path, detail="an SQLite file, but no export of Nsight Systems (no StringIds)")
        work = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")
        graphs = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
        for table in (*work, graphs, "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS"):
            if table in self.tables:
                self.total += self.database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        # Without it kernels can't be told apart by process, so neither are calls.
        self.has_processes = "globalPid" in self._columns(work[0]) or work[0] not in self.tables
        self._kernels(work[0])
        self._memory(work[1], Work.COPY)
        self._memory(work[2], Work.FILL)
        self._memory(graphs, Work.WHOLE_GRAPH)
        self._runtime("CUPTI_ACTIVITY_KIND_RUNTIME")
        self._ranges("NVTX_EVENTS")
        if "TARGET_INFO_GPU" in self.tables and "name" in self._columns("TARGET_INFO_GPU"):
            self.trace.devices = [name for (name,) in self.database.execute("SELECT name FROM TARGET_INFO_GPU") if name]
        return self.trace

    def _kernels(self, table: str) -> None:
        columns = self._columns(table)
        if not columns:
            return
        names = [name for name in ("demangledName", "shortName", "mangledName") if name in columns]
        if not names:
            raise BadTrace(path=self.path, detail=f"{table} has no column of names")
        texts = self._strings(f"SELECT {names[0]} FROM {table}")
        for row in self._rows(table, columns, names[0], "streamId", "deviceId", "globalPid", "correlationId"):
            start, end, name, stream, device, process, correlation = row
            text = texts.get(name)
            if not text or not text.strip():
                raise BadTrace(path=self.path, detail=f"a kernel without a name (at {start} ns)")
            self._add(Work.KERNEL, text, start, end, stream, device, process, correlation)

    def _memory(self, table: str, work: Work) -> None:
        columns = self._columns(table)
        if not columns:
            return
        for row in self._rows(table, columns, "copyKind", "streamId", "deviceId", "globalPid", "correlationId"):
            start, end, copy, stream, device, process, correlation = row
            name = {Work.COPY: f"Memcpy {_COPIES.get(copy, copy)}", Work.FILL: "Memset"}.get(work, "CUDA graph")
            self._add(work, name, start, end, stream, device, process, correlation)

    def _add(
        self,
        work: Work,
        name: str,
        start: int,
        end: int,
        stream: int | None,
        device: int | None,
        process: int | None,
        correlation: int | None,
    ) -> None:
        trace = self.trace
        start_us, us = self._times(name, start, end)
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
        columns = self._columns(table)
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
            start_us, us = self._times(text, start, end)
            self.trace.calls.add(
                self.trace.names(text),
                self._thread(thread),
                start_us,
                us,
                NO_CORRELATION if correlation is None else correlation,
            )

    def _ranges(self, table: str) -> None:
        columns = self._columns(table)
        if not columns:
            return
        texts = self._strings(f"SELECT textId FROM {table}") if "textId" in columns else {}
        where = 'WHERE "end" IS NOT NULL' + (f" AND eventType IN {_RANGES}" if "eventType" in columns else "")
        for start, end, text, number, thread in self._rows(table, columns, "text", "textId", "globalTid", where=where):
            name = text or texts.get(number)
            if name:
                start_us, us = self._times(name, start, end)
                self.trace.spans.append(Span(name, self._thread(thread), start_us, start_us + us))

    def _times(self, name: str, start: int, end: int) -> tuple[float, float]:
        if not isinstance(start, int) or not isinstance(end, int):
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} has no start or no end")
        if end < start:
            raise BadTrace(path=self.path, detail=f"{name[:80]!r} lasts {end - start} ns: the recording is broken")
        return start / 1e3, (end - start) / 1e3

    def _rows(self, table: str, columns: set[str], *wanted: str, where: str = "") -> Iterator[tuple[Any, ...]]:
        """``start``, ``end`` and the wanted columns; NULL for those that this version doesn't have."""
        # END is a word of SQL, so every column is quoted.
        fields = ", ".join(f'"{name}"' if name in columns else "NULL" for name in ("start", "end", *wanted))
        for row in self.database.execute(f"SELECT {fields} FROM {table} {where}"):
            self.done += 1
            if self.progress is not None and self.done % _REPORT_EVERY == 0:
                self.progress(min(self.done, self.total), self.total)
            yield row

    def _strings(self, numbers: str) -> dict[int, str]:
        return dict(self.database.execute(f"SELECT id, value FROM StringIds WHERE id IN ({numbers})"))

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self.database.execute(f"PRAGMA table_info({table})")}

    def _group(self, process: int | None) -> int:
        label = f"process {process >> _PROCESS_SHIFT & _MASK}" if process and self.has_processes else ""
        return self.trace.groups(label)

    def _thread(self, thread: int | None) -> int:
        return self.trace.threads(Thread(self._group(thread), str(thread & _MASK if thread else 0)))
