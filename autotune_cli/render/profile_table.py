"""A profile on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.errors import EXIT_FAILED, EXIT_OK
from autotune_cli.plain_text import shown
from autotune_cli.profiling.families import ALARMING_WORDS
from autotune_cli.profiling.findings import ProfileVerdict
from autotune_cli.render.console import Console
from autotune_cli.render.folding import INDENT, Record, folded
from autotune_cli.render.profile_words import PhaseRow, advice, header, problems, remarks, rows, sentence

_STYLES = {
    "ok": "green",
    "FAIL": "bold red",
    "nothing": "bold yellow",
    "undecided": "bold yellow",
    "captured": "cyan",
    "not judged": "dim",
}
# Kernels' names are folded into a column no narrower than this.
_KERNELS = 40
_GAP = 2


def print_profile(console: Console, verdict: ProfileVerdict, checked: Sequence[str] = ()) -> None:
    """The table, what is wrong, and the verdict in words as the last line.

    Args:
        checked: what the self-check tried.
    """
    console.say(header(verdict), "dim")
    console.print()
    console.print(_view(verdict, console.width))
    for line in remarks(verdict):
        console.say(f"  {line}", "dim")
    for title, problem in problems(verdict):
        where = f"{title}: " if title else ""
        console.say(f"  ! {where}{problem.text}", "red" if problem.is_violation else "yellow")
    how, pastes = advice(verdict)
    if pastes:
        console.say(f"  {how}:")
        for paste in pastes:
            console.say(f"    {paste}", whole=True)
    for line in checked:
        console.say(f"  self-check: {line}", "dim")
    style = {EXIT_OK: "bold green", EXIT_FAILED: "bold red"}.get(verdict.exit_code, "bold yellow")
    console.say(sentence(verdict), style)


def _view(verdict: ProfileVerdict, width: int) -> RenderableType:
    """A table where the kernels' names have room; else they stand below what they are the kernels of."""
    found = list(rows(verdict))
    heads = ("phase", "verdict", "family", "launches", "time us")
    cells = [heads, *((row.phase, row.verdict, row.family, str(row.launches), row.time_us) for row in found)]
    widest = [max(cell_len(row[column]) for row in cells) for column in range(len(heads))]
    if sum(widest) + _GAP * len(widest) + _KERNELS <= width:
        return _table(verdict)
    records = []
    for row in found:
        if row.phase:
            title = Text(f"{row.phase}: ", style="bold").append(row.verdict, style=_STYLES.get(row.verdict, ""))
            records.append(Record(title))
        family = Text(row.family, style="red" if _alarming(row) else "")
        spent = "" if row.time_us == "-" else f", {row.time_us} us"
        records.append(
            Record(
                Text(" " * INDENT)
                .append_text(family)
                .append(f": {row.launches} {'launch' if row.launches == 1 else 'launches'}{spent}"),
                (Text(" " * INDENT + row.kernels, style="dim"),),
            )
        )
    return folded(records)


def _alarming(row: PhaseRow) -> bool:
    return row.state == "failed" and row.family in ALARMING_WORDS


def _table(verdict: ProfileVerdict) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("phase", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("family", no_wrap=True)
    table.add_column("launches", justify="right", no_wrap=True)
    table.add_column("time us", justify="right", no_wrap=True)
    table.add_column("kernels", overflow="fold")
    for row in rows(verdict):
        table.add_row(
            Text(shown(row.phase)),
            Text(row.verdict, style=_STYLES.get(row.verdict, "")),
            Text(row.family, style="red" if _alarming(row) else ""),
            str(row.launches),
            row.time_us,
            Text(shown(row.kernels), style="dim"),
        )
    return table
