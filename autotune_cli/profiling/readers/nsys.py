"""SQLite exports of Nsight Systems (``nsys export --type sqlite``).

Source: "SQLite Schema Reference" and "Common SQLite Examples" of the Nsight Systems documentation. Tables are created
lazily, and columns came and went with versions: what is missing is taken as absent. Times are nanoseconds.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.base import TraceReader
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
# Bytes of a text; the longest names of kernels have some 10,000.
_LONGEST_VALUE = 1 << 20
_MOST_GPUS = 1024
# Of SQLite's virtual machine, between two looks at the clock: some milliseconds.
_STEPS = 100_000
# Processor seconds for a query's next row, and the bytes that SQLite goes through in another one, ten times over.
_PATIENCE_S, _BYTES_PER_S = 4.0, 20e6
# A row of two columns takes at least so many bytes.
_LEAST_ROW = 4


def read_nsys(path: Path, progress: Progress | None = None, stream: BinaryIO | None = None) -> Trace:
    """Reads an export in one pass a table.

    Raises:
        BadTrace: another SQLite file, a damaged one, one that computes what it holds, negative durations, kernels
            without names, text in a column of numbers.
        KeyboardInterrupt: Ctrl-C, also in the middle of a query.
    """
    clock = _Clock(path.stat().st_size)
    try:
        # Immutable: nothing is locked, no journal beside the file is looked for, and none is made.
        where = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(where, uri=True)) as database:
            # SQLite takes text of any length for a column of integers, and functions in the schema for harmless.
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
            database.execute("PRAGMA trusted_schema = OFF")
            database.set_progress_handler(clock.tick, _STEPS)
            return _NsysReader(path, database, clock, progress).read()
    except sqlite3.Error as error:
        if clock.is_over:
            raise BadTrace(path=path, detail="a query takes far too long for a file of this size") from None
        if isinstance(error, sqlite3.OperationalError) and str(error) == "interrupted":
            # sqlite3 makes this of any exception in the handler, such as that of Ctrl-C.
            raise KeyboardInterrupt from None
        raise BadTrace(path=path, detail=f"a damaged SQLite file: {error}") from None
    except UnicodeDecodeError:
        # SQLite's own message quotes the damaged schema, and sqlite3 can't make text of it.
        raise BadTrace(path=path, detail="a damaged SQLite file: its schema is no text") from None
    except MemoryError:
        raise BadTrace(path=path, detail="too large for this machine's memory") from None


class _Clock:
    """The time between two rows, and the number of them, that a file of a size may take: damaged pages can be
    endless."""

    def __init__(self, size: int) -> None:
        self.is_over = False
        self._patience_s = _PATIENCE_S + size / _BYTES_PER_S
        self._rows_left = size // _LEAST_ROW
        self._start = time.process_time()

    def tick(self) -> bool:
        """For ``set_progress_handler``: is the time over?"""
        self.is_over = self.is_over or time.process_time() - self._start > self._patience_s
        return self.is_over

    def row(self) -> bool:
        """Count a row that was read; True: there are more than the file has room for."""
        self._start = time.process_time()
        self._rows_left -= 1
        return self._rows_left < 0


class _NsysReader:
    def __init__(self, path: Path, database: sqlite3.Connection, clock: _Clock, progress: Progress | None) -> None:
        self.path = path
        self.database = database
        self.clock = clock
        self.progress = progress
        self.done = self.total = 0
        self.backwards: Counter[str] = Counter()
        """Rows that end before they begin, by their table."""
        self.has_processes = True
        self.trace = Trace(str(path), "Nsight Systems")
        # Names of files and kernels may hold any bytes.
        database.text_factory = lambda data: data.decode(errors="replace")
        self.tables = self._plain_tables()

    def _plain_tables(self) -> set[str]:
        """The tables that are read.

        Raises:
            BadTrace: one of them is a view, a virtual table, or has generated columns: code in the place of data.
        """
        tables = set()
        query = "SELECT type, name, rootpage FROM sqlite_master WHERE type IN ('table', 'view')"
        for kind, name, page in self.database.execute(query):
            if name not in _TABLES:
                continue
            if kind != "table" or not page:
                raise BadTrace(path=self.path, detail=f"{name} is no plain table: not an export of Nsight Systems")
            tables.add(name)
            # Columns by table_xinfo: hidden is 2 or 3 for a generated one.
            if any(column[6] for column in self.database.execute(f"PRAGMA table_xinfo({name})")):
                raise BadTrace(path=self.path, detail=f"{name} has generated columns: not an export of Nsight Systems")
        return tables

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
        for table, number in self.backwards.items():
            kept = "left out" if table == "NVTX_EVENTS" else "taken as of no length"
            self.trace.notes.append(f"{number} x {table} with a negative duration: {kept}")
        if "TARGET_INFO_GPU" in self.tables and "name" in self._columns("TARGET_INFO_GPU"):
            names = [name for (name,) in self.database.execute(f"SELECT name FROM TARGET_INFO_GPU LIMIT {_MOST_GPUS}")]
            self.trace.devices = [self._text("TARGET_INFO_GPU.name", name) for name in names if name]
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
            text = texts.get(name) if isinstance(name, int) else None
            if not text or not text.strip():
                raise BadTrace(path=self.path, detail=f"a kernel without a name (at {start} ns)")
            self._add(Work.KERNEL, text, start, end, stream, device, process, correlation)

    def _memory(self, table: str, work: Work) -> None:
        columns = self._columns(table)
        if not columns:
            return
        for row in self._rows(table, columns, "copyKind", "streamId", "deviceId", "globalPid", "correlationId"):
            start, end, copy, stream, device, process, correlation = row
            copy = self._whole(f"{table}.copyKind", copy)
            name = {Work.COPY: f"Memcpy {_COPIES.get(copy, copy)}", Work.FILL: "Memset"}.get(work, "CUDA graph")
            self._add(work, name, start, end, stream, device, process, correlation)

    def _add(
        self, work: Work, name: str, start: Any, end: Any, stream: Any, device: Any, process: Any, correlation: Any
    ) -> None:
        trace = self.trace
        stream, device = self._whole("streamId", stream), self._whole("deviceId", device)
        process, correlation = self._whole("globalPid", process), self._whole("correlationId", correlation)
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
            thread, correlation = self._whole("globalTid", thread), self._whole("correlationId", correlation)
            start_us, us = self._times(text, start, end, table)
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
            name = self._text(f"{table}.text", text) if text else texts.get(self._whole("textId", number))
            thread = self._whole("globalTid", thread)
            if name:
                start_us, us = self._times(name, start, end, table)
                if end < start:
                    self.trace.left_out.add(name)
                    continue
                self.trace.spans.append(Span(name, self._thread(thread), start_us, start_us + us))

    def _whole(self, column: str, value: Any) -> Any:
        """A whole number, or None.

        Raises:
            BadTrace: text, a blob, a fraction; SQLite takes any value for a column of integers.
        """
        if value is not None and not isinstance(value, int):
            raise BadTrace(path=self.path, detail=f"{column} holds {type(value).__name__} where a number belongs")
        return value

    def _text(self, column: str, value: Any) -> str:
        """Text. Raises :class:`BadTrace` for anything else."""
        if not isinstance(value, str):
            raise BadTrace(path=self.path, detail=f"{column} holds {type(value).__name__} where text belongs")
        return value

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
        for row in self.database.execute(f"SELECT {fields} FROM {table} {where}"):
            self.done += 1
            if self.clock.row():
                raise BadTrace(path=self.path, detail="a damaged SQLite file: more rows than it has room for")
            if self.progress is not None and self.done % _REPORT_EVERY == 0:
                self.progress(min(self.done, self.total), self.total)
            yield row

    def _strings(self, numbers: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for number, text in self.database.execute(f"SELECT id, value FROM StringIds WHERE id IN ({numbers})"):
            if self.clock.row():
                raise BadTrace(path=self.path, detail="a damaged SQLite file: more rows than it has room for")
            found[self._whole("StringIds.id", number)] = self._text("StringIds.value", text)
        return found

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self.database.execute(f"PRAGMA table_info({table})")}

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
