"""SQLite files of others: only plain tables, within limits of time, rows and sizes; nothing is left beside the file.

SQLite takes any value for a column of integers, a view for a table, and computes for ever on damaged pages.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autotune_cli.profiling.errors import BadTrace

MAGIC = b"SQLite format 3\x00"

# Bytes of a text; the longest names of kernels have some 10,000.
_LONGEST_VALUE = 1 << 20
# Of SQLite's virtual machine, between two looks at the clock: some milliseconds.
_STEPS = 100_000
# Processor seconds for a query's next row, and the bytes that SQLite goes through in another one, ten times over.
_PATIENCE_S, _BYTES_PER_S = 4.0, 20e6
# A row of two columns takes at least so many bytes.
_LEAST_ROW = 4


@contextmanager
def open_tables(path: Path, wanted: Collection[str], not_that: str) -> Iterator[Tables]:
    """The tables of a file of which ``wanted`` are read.

    Args:
        not_that: what a file with code in the place of data is told to be, such as "not an export of ...".

    Raises:
        BadTrace: a damaged file, one that computes what it holds, one that takes too long or too much memory.
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
            yield Tables(path, database, clock, wanted, not_that)
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


class Tables:
    """The plain tables of an open file.

    Attributes:
        names: those of the wanted ones that are there.
    """

    def __init__(
        self, path: Path, database: sqlite3.Connection, clock: _Clock, wanted: Collection[str], not_that: str
    ) -> None:
        """See :func:`open_tables`."""
        self.path = path
        self._database = database
        self._clock = clock
        # Names of files and kernels may hold any bytes.
        database.text_factory = lambda data: data.decode(errors="replace")
        self.names = self._plain(wanted, not_that)

    def _plain(self, wanted: Collection[str], not_that: str) -> set[str]:
        """The wanted tables.

        Raises:
            BadTrace: one of them is a view, a virtual table, or has generated columns: code in the place of data.
        """
        tables = set()
        query = "SELECT type, name, rootpage FROM sqlite_master WHERE type IN ('table', 'view')"
        for kind, name, page in self._database.execute(query):
            if name not in wanted:
                continue
            if kind != "table" or not page:
                raise BadTrace(path=self.path, detail=f"{name} is no plain table: {not_that}")
            tables.add(name)
            # Columns by table_xinfo: hidden is 2 or 3 for a generated one.
            if any(column[6] for column in self._database.execute(f"PRAGMA table_xinfo({name})")):
                raise BadTrace(path=self.path, detail=f"{name} has generated columns: {not_that}")
        return tables

    def columns(self, table: str) -> set[str]:
        """Names of a table's columns; empty where there is no such table."""
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def count(self, table: str) -> int:
        """Its number of rows."""
        number: int = self._database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        return number

    def rows(self, query: str, read: Callable[[], None] = lambda: None) -> Iterator[tuple[Any, ...]]:
        """The rows of a query; ``read`` is called for each.

        Raises:
            BadTrace: more than the file has room for.
        """
        for row in self._database.execute(query):
            read()
            if self._clock.row():
                raise BadTrace(path=self.path, detail="a damaged SQLite file: more rows than it has room for")
            yield row

    def whole(self, column: str, value: Any) -> Any:
        """A whole number, or None.

        Raises:
            BadTrace: text, a blob, a fraction; SQLite takes any value for a column of integers.
        """
        if value is not None and not isinstance(value, int):
            raise BadTrace(path=self.path, detail=f"{column} holds {type(value).__name__} where a number belongs")
        return value

    def text(self, column: str, value: Any) -> str:
        """Text.

        Raises:
            BadTrace: anything else.
        """
        if not isinstance(value, str):
            raise BadTrace(path=self.path, detail=f"{column} holds {type(value).__name__} where text belongs")
        return value
