"""A comparison as GitHub markdown, for a pull-request comment or a job summary."""

from __future__ import annotations

from autotune_cli.comparing.exit_status import ExitStatus
from autotune_cli.comparing.records import Report
from autotune_cli.comparing.verdicts import Tone, for_every_tone
from autotune_cli.plain_text import markdown as markdown_text
from autotune_cli.render.diff_model import DiffModel
from autotune_cli.render.diff_rows import DiffRow

# GitHub refuses comments of more than 65,536 characters.
MOST_CHARACTERS = 65_000
# No cell and no sentence is longer: names and reasons are the user's, and could be of any length.
_CELL = 200
_SENTENCE = 400
# Differences of the environment, and notes.
_SENTENCES = 40
_ICONS = for_every_tone({
    Tone.FAILED: "🔴",
    Tone.WORSE: "🔴",
    Tone.BETTER: "🟢",
    Tone.NEWS: "🟣",
    Tone.UNCLEAR: "🟡",
    Tone.PLAIN: "",
    Tone.FAINT: "",
})  # fmt: skip


def markdown(report: Report, result: ExitStatus, every: bool = False) -> str:
    """At most ``MOST_CHARACTERS`` characters; rows that don't fit are counted."""
    model = DiffModel(report, result, every)
    # What is escaped is up to 18 times as long.
    documents = (_document(model, most) for most in (_SENTENCE, 100, 20))
    return next(text for text in documents if len(text) <= MOST_CHARACTERS)


def _document(model: DiffModel, most: int) -> str:
    """``most``: characters of a sentence."""
    head = [f"### autotune diff: {markdown_text(model.status.words, most)} (exit {model.status.exit_code})", ""]
    head += _environment(model, most)
    head += [f"- {markdown_text(line, most)}" for line in model.sides]
    if model.basis is not None:
        head.append(f"- {markdown_text(model.basis, most)}")
    head += [f"- note: {markdown_text(note, most)}" for note in model.report.notes[:_SENTENCES]]
    if model.report.refusal is not None:
        return "\n".join([*head, "", markdown_text(model.exit_text, most), ""])
    foot = ["", f"**{model.totals}**"]
    if model.choice_totals is not None:
        foot += ["", model.choice_totals]
    if model.means:
        foot += ["", "| geometric mean, B over A | | of |", "|---|---|---|"]
        foot += [f"| {markdown_text(mean.operation, _CELL)} | {mean.value} | {mean.of} |" for mean in model.means]
    foot += [f"\nonly in {name}: {len(only)} workloads" for name, only in model.only]
    foot.append("")
    return _fitted(head, list(map(_row, model.rows)), foot)


def _environment(model: DiffModel, most: int) -> list[str]:
    lines = [f"- environment: **{markdown_text(line.text, most)}**" for line in model.environment[:_SENTENCES]]
    if len(model.environment) > _SENTENCES:
        lines.append(f"- environment: {len(model.environment) - _SENTENCES} more fields differ")
    return lines or ["- environment: no difference"]


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


def _row(row: DiffRow) -> str:
    cells = (f"{_ICONS[row.tone]} {row.word}".strip(), row.workload, row.what, row.times, row.change, row.note)
    return "| " + " | ".join(markdown_text(cell, _CELL) for cell in cells) + " |"
