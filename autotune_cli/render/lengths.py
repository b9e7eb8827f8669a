"""Of a workload of several lengths, what its choice takes and loses at each, and what its captures have in common."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.measure.lengths import AtLength, at_lengths
from autotune_cli.render.folding import Record, folded
from autotune_cli.render.text import microseconds, percent
from autotune_cli.results.schema import WorkloadResult

LENGTH_COLUMNS = (
    "keys", "share", "choice us", "best us", "choice loses", "best there", "it loses over all", "at worst",
)  # fmt: skip
_NAME = LENGTH_COLUMNS.index("best there")
# Between columns: two spaces.
_GAP = 2


def length_rows(result: WorkloadResult) -> list[tuple[str, ...]]:
    """The cells of ``LENGTH_COLUMNS``, a row a length; none where the workload has none."""
    return [_row(each, result) for each in at_lengths(result)]


def frozen_lines(result: WorkloadResult) -> list[str]:
    """What all lengths have in common of the choice, of the best at each length and of the default."""
    found = at_lengths(result)
    if not found or result.choice is None:
        return []
    default = result.baseline()
    keys = [result.choice.winner, *(each.best.key for each in found)]
    keys += [] if default is None or default.candidate is None else [default.candidate]
    known = {candidate.key: candidate for candidate in result.candidates}
    word = frozen_word(result)
    shown = [known[key] for key in dict.fromkeys(keys) if key in known and known[key].frozen]
    return [f"{word}: {candidate.label}: {candidate.frozen}" for candidate in shown]


def frozen_word(result: WorkloadResult) -> str:
    """What is done once for all lengths."""
    return "captured" if result.workload.mode == "graph" else "prepared"


def lengths_view(result: WorkloadResult, width: int) -> RenderableType | None:
    """For a terminal of ``width`` columns; None where the workload has no lengths."""
    rows = length_rows(result)
    if not rows:
        return None
    widest = [max(len(row[column]) for row in (LENGTH_COLUMNS, *rows)) for column in range(len(LENGTH_COLUMNS))]
    if sum(widest) + _GAP * (len(widest) - 1) > width:
        return folded([_record(row) for row in rows], Text(result.key, style="bold"))
    table = Table(
        title=result.key, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, _GAP, 0, 0)
    )
    for number, name in enumerate(LENGTH_COLUMNS):
        table.add_column(name, justify="left" if number == _NAME else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _row(at: AtLength, result: WorkloadResult) -> tuple[str, ...]:
    is_choice = result.choice is not None and at.best.key == result.choice.winner
    return (
        f"{'' if result.workload.spread == 'even' else '≤'}{at.context}",
        percent(at.share),
        microseconds(at.choice_us),
        microseconds(at.best_us),
        "-" if is_choice else _loss(at.loss),
        "the choice" if is_choice else at.best.label,
        "-" if is_choice else _loss(at.best_over_all),
        _loss(at.best_at_worst),
    )


def _loss(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _record(row: Sequence[str]) -> Record:
    cells = dict(zip(LENGTH_COLUMNS, row, strict=True))
    facts = f"{cells['share']} of all, choice {cells['choice us']} us"
    if cells["choice loses"] == "-":
        best = f"best: the choice, which loses {cells['at worst']} at worst"
    else:
        facts += f", loses {cells['choice loses']}"
        best = f"best {cells['best us']} us: {cells['best there']}, loses {cells['it loses over all']} over all"
        best += f", {cells['at worst']} at worst"
    return Record(Text(f"{cells['keys']} keys"), (Text(facts), Text(best)))
