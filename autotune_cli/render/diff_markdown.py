"""A comparison as GitHub markdown, for a pull-request comment or a job summary."""

from __future__ import annotations

from autotune_cli.comparing.outcome import Outcome
from autotune_cli.comparing.records import Report
from autotune_cli.plain_text import markdown as markdown_text
from autotune_cli.render.diff_rows import Line, lines
from autotune_cli.render.diff_text import (
    basis,
    choice_totals,
    exit_text,
    ground_lines,
    mean_of,
    mean_text,
    sides,
    totals,
)

# GitHub refuses comments of more than 65,536 characters.
MOST_CHARACTERS = 65_000
# No cell and no sentence is longer: names and reasons are the user's, and could be of any length.
_CELL = 200
_SENTENCE = 400
_GROUND = 40
_WORDS = {"CHOICE": "choice"}
_ICONS = {
    "slower": "🔴",
    "status": "🔴",
    "faster": "🟢",
    "CHOICE": "🟣",
    "ambiguous": "🟡",
}


def markdown(report: Report, result: Outcome, every: bool = False) -> str:
    """At most ``MOST_CHARACTERS`` characters; rows that don't fit are counted."""
    # What is escaped is up to 18 times as long.
    documents = (_document(report, result, every, most) for most in (_SENTENCE, 100, 20))
    return next(text for text in documents if len(text) <= MOST_CHARACTERS)


def _document(report: Report, result: Outcome, every: bool, most: int) -> str:
    """``most``: characters of a sentence."""
    head = [f"### autotune diff: {markdown_text(result.words, most)} (exit {result.exit_code})", ""]
    ground = [f"- ground: **{markdown_text(line, most)}**" for line in ground_lines(report.ground)[:_GROUND]]
    if len(report.ground) > _GROUND:
        ground.append(f"- ground: {len(report.ground) - _GROUND} more fields differ")
    head += ground or ["- ground: no difference"]
    head += [f"- {markdown_text(line, most)}" for line in sides(report)]
    if report.refusal is None:
        head.append(f"- {markdown_text(basis(report), most)}")
    head += [f"- note: {markdown_text(note, most)}" for note in report.notes[:_GROUND]]
    if report.refusal is not None:
        return "\n".join([*head, "", markdown_text(exit_text(result), most), ""])
    foot = ["", f"**{totals(report)}**"]
    if report.comparisons:
        foot += ["", choice_totals(report)]
    if report.means:
        foot += ["", "| geometric mean, B over A | | of |", "|---|---|---|"]
        foot += [
            f"| {markdown_text(m.operation or 'in all', _CELL)} | {mean_text(m)} | {mean_of(m)} |" for m in report.means
        ]
    foot += [
        f"\nonly in {name}: {len(only)} workloads"
        for name, only in (("A", report.only_a), ("B", report.only_b))
        if only
    ]
    foot.append("")
    return _fitted(head, [_row(line) for line in lines(report, every)], foot)


def _fitted(head: list[str], rows: list[str], foot: list[str]) -> str:
    if not rows:
        return "\n".join([*head, *foot])
    top = ["", "| | workload | candidate | time | change | |", "|---|---|---|---|---|---|"]
    room = MOST_CHARACTERS - sum(len(line) + 1 for line in (*head, *top, *foot)) - 80
    kept = []
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            break
        kept.append(row)
    rest = len(rows) - len(kept)
    more = ["", f"... {rest} more rows; `--format json` has them all"] if rest else []
    return "\n".join([*head, *top, *kept, *more, *foot])


def _row(line: Line) -> str:
    word = f"{_ICONS.get(line.word, '')} {_WORDS.get(line.word, line.word)}".strip()
    cells = (word, line.place, line.what, line.times, line.change, line.note)
    return "| " + " | ".join(markdown_text(cell, _CELL) for cell in cells) + " |"
