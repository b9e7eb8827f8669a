"""A profile on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autotune_cli.errors import EXIT_FAILED, EXIT_OK
from autotune_cli.plain_text import shown
from autotune_cli.profiling.verdict import Verdict
from autotune_cli.render.profile_words import header, problems, remarks, rows, sentence

_STYLES = {"ok": "green", "FAIL": "bold red", "nothing": "bold yellow", "captured": "cyan", "not judged": "dim"}
_FORBIDDEN = {"ragged", "cascade merge", "dense", "unknown"}


def print_profile(console: Console, verdict: Verdict, checked: Sequence[str] = ()) -> None:
    """The table, what is wrong, and the verdict in words as the last line.

    Args:
        checked: what the self-check tried.
    """
    _line(console, header(verdict), "dim")
    console.print()
    console.print(_table(verdict))
    for line in remarks(verdict):
        _line(console, f"  {line}", "dim")
    for title, problem in problems(verdict):
        place = f"{title}: " if title else ""
        _line(console, f"  ! {place}{problem.text}", "red" if problem.is_violation else "yellow")
    pastes = list(dict.fromkeys(problem.paste for _, problem in problems(verdict) if problem.paste))
    if pastes:
        _line(console, "  if these kernels are no attention, say why in a file for --rules:", "")
        for paste in pastes:
            _line(console, f"    {paste}", "")
    for line in checked:
        _line(console, f"  self-check: {line}", "dim")
    style = {EXIT_OK: "bold green", EXIT_FAILED: "bold red"}.get(verdict.exit_code, "bold yellow")
    _line(console, sentence(verdict), style)


def _table(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("phase", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("family", no_wrap=True)
    table.add_column("launches", justify="right", no_wrap=True)
    table.add_column("time us", justify="right", no_wrap=True)
    table.add_column("kernels", overflow="fold")
    for row in rows(verdict):
        alarming = row.state == "failed" and row.family in _FORBIDDEN
        table.add_row(
            Text(shown(row.phase)),
            Text(row.verdict, style=_STYLES.get(row.verdict, "")),
            Text(row.family, style="red" if alarming else ""),
            str(row.launches),
            row.time_us,
            Text(shown(row.kernels), style="dim"),
        )
    return table


def _line(console: Console, text: str, style: str) -> None:
    console.print(Text(shown(text), style=style), soft_wrap=True)
