"""What fired in a trace, without a judgement: kernels by phase with their classes. For people and for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.plain_text import json_text, markdown, markdown_code, shown
from autotune_cli.profiling.families import FAMILIES, WORDS, FamilyName
from autotune_cli.profiling.kernel_name import short_name
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.phases import KernelUse, Phase, Recording
from autotune_cli.render.console import Console
from autotune_cli.render.folding import INDENT, Record, folded
from autotune_cli.render.text import microseconds, plural

# Everyday kernels are many; those that took most time say enough.
_BENIGN = 3
_NAME = 72
_HEAD = ("phase", "family", "launches", "time us", "kernel", "library")
# Kernels' names are folded into a column no narrower than this.
_LEAST = 40
_GAP = 2
HOW = "to judge it, say what to expect: --paged, --no-paged, --prefix, --mode, --preset, --expect or --forbid"


class KernelRow(NamedTuple):
    """One kernel of a phase; the phase's name stands in its first row only."""

    phase: str
    family: str
    launches: int
    time_us: str
    kernel: str
    library: str


def print_listing(console: Console, recording: Recording) -> None:
    """A table, notes, and how to have it judged."""
    devices = f" on {', '.join(dict.fromkeys(recording.devices))}" if recording.devices else ""
    console.say(f"{recording.source}{devices}: what fired", "dim")
    console.print()
    console.print(_view(list(listing(recording)), console.width))
    for note in recording.notes:
        console.say(f"  {note}", "dim")
    console.say(last_line(recording))


def _view(rows: Sequence[KernelRow], width: int) -> RenderableType:
    """A table where the kernels' names have room; else each stands below its class, and its phase above."""
    said = [KernelRow(*(shown(str(cell)) for cell in row)) for row in rows]  # type: ignore[arg-type]
    widest = [max(map(cell_len, column)) for column in zip(_HEAD, *said, strict=True)]
    if sum(widest) - widest[4] + min(widest[4], _LEAST) + _GAP * (len(widest) - 1) <= width:
        return _table(said)
    records = []
    for row in said:
        style = "dim" if row.family == WORDS["benign"] else ""
        records += [Record(Text(f"{row.phase}:", style="bold"))] if row.phase else []
        spent = "" if row.time_us == "-" else f", {row.time_us} us"
        launches = "launch" if str(row.launches) == "1" else "launches"
        library = f" ({row.library})" if row.library else ""
        head = Text(f"{' ' * INDENT}{row.family}: {row.launches} {launches}{spent}")
        records.append(Record(head, (Text(f"{' ' * INDENT}{row.kernel}{library}"),), style))
    return folded(records)


def _table(rows: Sequence[KernelRow]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in _HEAD:
        folds = name == "kernel"
        table.add_column(
            name, justify="right" if name in ("launches", "time us") else "left", overflow="fold", no_wrap=not folds
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row), style="dim" if row.family == WORDS["benign"] else "")
    return table


def listing(recording: Recording) -> Iterator[KernelRow]:
    """Every kernel that is not everyday, by family; of the others those that took most time."""
    for phase in recording.phases:
        title = phase.title
        for row in _of_phase(phase):
            yield row._replace(phase=title)
            title = ""


def _of_phase(phase: Phase) -> Iterator[KernelRow]:
    if phase.captured:
        yield KernelRow("", "captured, not executed", phase.captured, "-", "", "")
    for family in FAMILIES:
        named: dict[tuple[str, str], list[KernelUse]] = {}
        for use in phase.kernels:
            if use.family == family:
                # Instances of one template have one short name.
                named.setdefault((short_name(demangle(use.name), _NAME), use.library), []).append(use)
        names = sorted(named, key=lambda name: -sum(use.us for use in named[name]))
        told = names if family != "benign" or len(names) <= _BENIGN + 1 else names[:_BENIGN]
        yield from (_row(family, named[name], *name) for name in told)
        rest = names[len(told) :]
        if rest:
            yield _row(family, [use for name in rest for use in named[name]], f"{len(rest)} more names", "")
    if not phase.kernels and not phase.captured:
        yield KernelRow("", "nothing recorded", 0, "-", "", "")


def _row(family: FamilyName, uses: Sequence[KernelUse], name: str, library: str) -> KernelRow:
    us = sum(use.us for use in uses)
    spent = microseconds(us) if us else "-"
    return KernelRow("", WORDS[family], sum(use.launches for use in uses), spent, name, library)


def fired(recording: Recording) -> int:
    """Kernels that ran; captured ones did not."""
    return sum(phase.launches() for phase in recording.phases)


def last_line(recording: Recording) -> str:
    """``LISTED: 14 kernels in 3 phases ...``, or that there is nothing."""
    if not fired(recording):
        return "NOTHING TO LIST: no GPU kernel was recorded"
    phases = plural(sum(bool(phase.kernels) for phase in recording.phases), "phase")
    return f"LISTED, not judged: {plural(fired(recording), 'kernel')} in {phases}; {HOW}"


def listing_json(recording: Recording, exit_code: int, ascii_only: bool = False) -> str:
    """The fields of a verdict's JSON that need no judgement. Times are microseconds.

    Args:
        ascii_only: for streams that take no more.
    """
    document: dict[str, Any] = {
        "verdict": "listed" if fired(recording) else "nothing to list",
        "exit_code": exit_code,
        "sentence": last_line(recording),
        "source": recording.source,
        "devices": list(recording.devices),
        "notes": list(recording.notes),
        "expectation": None,
        "phases": [
            {
                "name": phase.name,
                "where": phase.where,
                "families": {
                    family: {"launches": launches, "us": round(us, 3)}
                    for family, (launches, us) in phase.families().items()
                },
                "kernels": [asdict(use) for use in phase.kernels],
                "captured_launches": phase.captured,
                "graph_launches": phase.graph_launches,
            }
            for phase in recording.phases
        ],
    }
    return json_text(document, ascii_only)


def listing_markdown(recording: Recording) -> str:
    """A table."""
    lines = [f"**{markdown(last_line(recording))}**", "", "| phase | family | launches | time us | kernel | library |"]
    lines.append("|---|---|--:|--:|---|---|")
    for row in listing(recording):
        words = (markdown(row.phase), row.family, str(row.launches), row.time_us)
        lines.append(f"| {' | '.join(words)} | {markdown_code(row.kernel, in_table=True)} | {markdown(row.library)} |")
    lines += ["", *(f"- {markdown(note, begins=True)}" for note in recording.notes)]
    return "\n".join(lines).rstrip() + "\n"
