"""Small traces to be damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from trace_builders import FA2_PAGED as PAGED
from trace_builders import ChromeTrace, NsysTrace


def chrome(path: Path, *names: str) -> Path:
    trace = ChromeTrace(deviceProperties=[{"name": "NVIDIA H200"}])
    for name in names or (PAGED,):
        trace.kernel(name)
    return trace.write(path)


def export(path: Path, *statements: str) -> Path:
    trace = NsysTrace(path)
    start = trace.now
    trace.kernel(PAGED).copy_to_host().span("phase.eager", start).span("x", start, registered=True)
    trace.write()
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    return path
