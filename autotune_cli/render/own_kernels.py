"""The user's own kernels after the table of a run: on a wide terminal one line each, on a narrow one a few."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from autotune_cli.comparing.own import Against, OwnCandidate, OwnWorkload
from autotune_cli.comparing.verdicts import ChangeVerdict, Tone
from autotune_cli.plain_text import shown
from autotune_cli.render.diff_words import change, plain_word
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import batch_and_context, microseconds, operation, plural, with_interval
from autotune_cli.render.tones import STYLES
from autotune_cli.results.schema import FAILED

_HEAD = ("kernel", "time us", "default", "best other", "change")
# Candidates of one workload that are shown each, the fastest; those that fail are always shown.
_SHOWN = 8
# What didn't change stands as it is: the line is of a kernel, not of its change.
_STYLES = {Tone.BETTER: STYLES[Tone.BETTER], Tone.WORSE: STYLES[Tone.WORSE]}
# Closer than this to 1 a ratio has three digits; of rough times it says nothing (see comparing/rough.py).
_CLOSE = 1.1
_ROUGHLY = 1.2


def print_own(console: Console, workloads: Sequence[OwnWorkload], compared: Sequence[str], every: bool = False) -> None:
    """Nothing without own candidates.

    Args:
        compared: sentences on the run that this one is compared with.
        every: show each, however many there are.
    """
    if not workloads:
        return
    console.print()
    console.print(Text("your kernels", style="bold"))
    # On a terminal lines are folded at spaces; a file's or a pipe's lines stay whole.
    soft = not console.is_terminal
    for line in compared:
        console.print(Text(shown(line), style="dim"), soft_wrap=soft)
    for workload in shown_record(list(workloads)):
        console.print(Text(f"{_where(workload)}{_held_to(workload)}", style="dim"), soft_wrap=soft)
        for text in _lines(workload, every, console.width):
            console.print(text)


def _where(workload: OwnWorkload) -> str:
    key = workload.result.workload
    return f"{operation(key)} {' x '.join(batch_and_context(key))} {key.mode}"


def _held_to(workload: OwnWorkload) -> str:
    """``: default torch.topk 301.0 us, best other ...``."""
    found = []
    for name in ("default", "other"):
        against: list[Against] = [one for row in workload.candidates if (one := getattr(row, name)) is not None]
        if against:
            word = "best other" if name == "other" else name
            rough = "~" if against[0].rough else ""
            found.append(f"{word} {against[0].label} {rough}{microseconds(against[0].us)} us")
    before = workload.best_before
    if before is not None and (not workload.candidates or workload.candidates[0].result.key != before.key):
        found.append(f"best of yours before {before.label} {'~' if before.rough else ''}{microseconds(before.us)} us")
    return f": {', '.join(found)}" if found else ""


def _lines(workload: OwnWorkload, every: bool, width: int) -> list[Text]:
    right = [row for row in workload.candidates if row.result.status not in _WITHOUT_TIME]
    shown = right if every else right[:_SHOWN]
    rows = [_cells(row, workload.in_before) for row in shown]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = []
    if rows and 2 + sum(widths) + 2 * (len(widths) - 1) <= width:
        lines = [Text(f"  {_padded(_HEAD, widths)}", style="bold")]
        lines += [
            Text(f"  {_padded(cells, widths)}", style=_style(row)) for row, cells in zip(shown, rows, strict=True)
        ]
    else:
        for row, cells in zip(shown, rows, strict=True):
            said = [f"{name} {cell}" for name, cell in zip(_HEAD[1:], cells[1:], strict=True) if cell != "-"]
            lines.append(Text(f"  {cells[0]}: {', '.join(said)}", style=_style(row)))
    if len(shown) < len(right):
        slowest = microseconds(right[-1].result.median_us or right[-1].result.rough_us)
        lines.append(
            Text(f"  ... {plural(len(right) - len(shown), 'slower one')}, up to {slowest} us; --all shows them")
        )
    return [*lines, *_failures(workload, every)]


_WITHOUT_TIME = (*FAILED, "unsupported", "unavailable", "skipped")


def _failures(workload: OwnWorkload, every: bool) -> list[Text]:
    """The candidates without a time and why; those of one backend that fail alike are one line."""
    groups: dict[object, list[OwnCandidate]] = {}
    for row in workload.candidates:
        result = row.result
        if result.status in _WITHOUT_TIME:
            alike = (result.backend, result.status, result.reason)
            groups.setdefault(result.key if every else alike, []).append(row)
    lines = []
    for rows in groups.values():
        first = rows[0].result
        name = first.label if len(rows) == 1 else f"{first.label} and {len(rows) - 1} more"
        rough = f", ~{microseconds(first.rough_us)} us" if first.rough_us else ""
        since = _since(rows[0], workload.in_before)
        before = "" if since in ("-", "same") else f" ({since})"
        style = "red" if first.status in FAILED else "dim"
        lines.append(Text(f"  {name}: {plain_word(first.status)}{rough}: {first.reason}{before}", style=style))
    return lines


def _cells(row: OwnCandidate, in_before: bool) -> tuple[str, ...]:
    result = row.result
    time = with_interval(result.median_us, result.interval_us)
    if result.median_us is None and result.rough_us is not None:
        time = f"~{microseconds(result.rough_us)}"
    label = f"{result.label} ({row.rank})" if row.rank else result.label
    return label, time, against_words(row.default), against_words(row.other), _since(row, in_before)


def against_words(against: Against | None) -> str:
    """``1.05x faster``, ``21.1x slower``, ``the same`` within the interval; ``~`` for rough times."""
    if against is None:
        return "-"
    low, high = against.interval or (against.ratio, against.ratio)
    factor = max(against.ratio, 1.0 / against.ratio)
    rough = "~" if against.rough else ""
    if low <= 1.0 <= high or (against.rough and factor < _ROUGHLY):
        return f"{rough}the same"
    return f"{rough}{factor:.{3 if factor < _CLOSE else 2}f}x {'faster' if against.ratio > 1.0 else 'slower'}"


def _since(row: OwnCandidate, in_before: bool) -> str:
    """``faster -12.0 % (-13.1 .. -10.9)``: a verdict of ``autotune diff``."""
    before = row.before
    if before is None:
        return "-"
    decision = before.decision
    if before.verdict == ChangeVerdict.ONLY_B:
        return "new"
    if before.verdict == ChangeVerdict.STATUS:
        return f"was {plain_word(before.status_a)}"
    if before.verdict in (ChangeVerdict.ELIMINATED, ChangeVerdict.NOT_TIMED):
        rough = before.a_us is None
        was = before.a_rough_us if rough else before.a_us
        return f"no change beyond rough times, was {'~' if rough else ''}{microseconds(was)}" if was else "-"
    return f"{before.verdict} {change(decision.ratio, decision.interval)}".strip()


def _style(row: OwnCandidate) -> str:
    return _STYLES.get(row.before.verdict.row.tone, "") if row.before is not None else ""


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column to the left, the time to the right, the rest to the left."""
    return "  ".join(
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
