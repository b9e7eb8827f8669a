"""The kernels of a profile as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from autotune_cli.plain_text import csv_cell
from autotune_cli.profiling.phases import Phase

COLUMNS: Final = ("phase", "where", "state", "family", "kernel", "library", "launches", "us", "reason")


def kernel_rows(phases: Iterable[tuple[Phase, str]]) -> str:
    """One row a kernel of each phase, by its whole name. ``us`` is the sum of its launches' durations in microseconds.

    Args:
        phases: each with what was said of it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for phase, state in phases:
        for use in phase.kernels:
            row = (phase.name, phase.where, state, use.family, use.name, use.library, use.launches, use.us, use.reason)
            writer.writerow([csv_cell(cell) for cell in row])
    return stream.getvalue()
