"""The page of one file, or of two with what changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune_cli import __version__
from autotune_cli.plain_text import shown
from autotune_cli.report.environment import utc
from autotune_cli.report.model import Changes, ReportPage
from autotune_cli.report.results import result_parts
from autotune_cli.results.integrity import doubts
from autotune_cli.results.schema import RunFile


def make_page(files: Sequence[tuple[Path, RunFile]], changes: Changes | None, baseline: str | None) -> ReportPage:
    """The page.

    Args:
        files: one, or A and B; of two, B's results come first, as they are the news.
        changes: from A to B; None: there is one file.
        baseline: see :func:`autotune_cli.report.results.result_parts`.
    """
    sides = ("",) if len(files) == 1 else ("A", "B")
    parts = [result_parts(path, run, baseline, side) for side, (path, run) in zip(sides, files, strict=True)]
    names = list(dict.fromkeys(shown(run.name) for _, run in files))
    return ReportPage(
        title=f"{' and '.join(names)}: {'tuning results' if changes is None else 'what changed'}",
        subtitle="; ".join(_line(side, run) for side, (_, run) in zip(sides, files, strict=True)),
        program=f"kernel-autotune {__version__}",
        changes=changes,
        results=tuple(part for found in reversed(parts) for part in found),
        notes=tuple(shown(f"{path}: {line}") for path, run in files for line in doubts(run)) if changes is None else (),
    )


def _line(side: str, run: RunFile) -> str:
    """``B: 20 workloads, written 2026-11-27 13:34:21 UTC``, and whether it is whole."""
    number = len(run.workloads)
    whole = "" if run.complete else ", not complete"
    text = f"{number} workload{'' if number == 1 else 's'}, written {shown(utc(run.created))}{whole}"
    return f"{side}: {text}" if side else text
