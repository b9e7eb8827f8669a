"""The agreement of ranks in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_cli.comparing.agreement_records import AgreedWorkload, Agreement, AgreeVerdict, OffReason
from autotune_cli.plain_text import csv_cell, json_text, markdown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.diff_words import percent_change
from autotune_cli.render.formats import Page
from autotune_cli.render.text import plural

_STYLES = {
    AgreeVerdict.SAME: "dim",
    AgreeVerdict.TIED: "dim",
    AgreeVerdict.NONE: "yellow",
    AgreeVerdict.DIFFERS: "bold red",
}
# So many ranks or cards of a line are named.
_NAMED = 8


@dataclass(frozen=True)
class AgreeView:
    """What is printed, and whether workloads without a difference are among it."""

    agreement: Agreement
    every: bool = False

    @property
    def workloads(self) -> list[AgreedWorkload]:
        quiet = (AgreeVerdict.SAME, AgreeVerdict.NONE)
        return [each for each in self.agreement.workloads if self.every or each.verdict not in quiet]


def agree_table(view: AgreeView, page: Page) -> str:
    agreement = view.agreement

    def draw(console: Console) -> None:
        for line in _head(agreement):
            console.say(line)
        for workload in view.workloads:
            console.say(f"{workload.verdict}  {workload.label}", style=_STYLES[workload.verdict])
            for line in _details(workload):
                console.say(f"  {line}")
        console.say(_totals(agreement))
        console.say(f"exit {agreement.exit_code}: {agreement.words}")

    return drawn(draw, page, padded=False)


def agree_markdown(view: AgreeView, page: Page) -> str:
    agreement = view.agreement
    lines = [f"### autotune agree: {markdown(agreement.words)} (exit {agreement.exit_code})", ""]
    lines += [f"- {markdown(line, begins=True)}" for line in _head(agreement)]
    if view.workloads:
        lines += ["", "| | workload | |", "|---|---|---|"]
        for workload in view.workloads:
            said = "<br>".join(markdown(line) for line in _details(workload))
            lines.append(f"| {workload.verdict} | {markdown(workload.label)} | {said} |")
    return "\n".join([*lines, "", f"**{markdown(_totals(agreement))}**"]) + "\n"


def agree_csv(view: AgreeView, page: Page) -> str:
    """A row a workload and rank."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("workload", "operation", "verdict", "rank", "winner", "off", "gain"))
    for workload in view.agreement.workloads:
        winners = {rank: group.winner for group in workload.groups for rank in group.ranks}
        off = {each.rank: each for each in workload.off}
        for rank in view.agreement.ranks:
            odd = off.get(rank.number)
            cells = [workload.workload, workload.operation, str(workload.verdict), str(rank.number)]
            cells += [winners.get(rank.number, ""), str(odd.reason) if odd else ""]
            writer.writerow([*map(csv_cell, cells), odd.gain if odd and odd.gain is not None else ""])
    return stream.getvalue()


def agree_json(view: AgreeView, page: Page) -> str:
    agreement = view.agreement
    document = {
        "agree_version": 1,
        "exit_code": agreement.exit_code,
        "exit_words": agreement.words,
        "refusal": agreement.refusal,
        "ranks": [
            {
                "rank": rank.number,
                "path": rank.path,
                "devices": list(rank.devices),
                "cards": list(rank.cards),
                "workloads": rank.workloads,
                "complete": rank.complete,
                "off": agreement.off.get(rank.number, 0),
            }
            for rank in agreement.ranks
        ],
        "environment": [
            {
                "field": odd.field,
                "blocks": odd.blocks,
                "values": [{"value": value, "ranks": list(ranks)} for value, ranks in odd.values],
            }
            for odd in agreement.environment
        ],
        "notes": list(agreement.notes),
        "counts": {str(verdict): agreement.count(verdict) for verdict in AgreeVerdict},
        "workloads": list(map(_data, agreement.workloads)),
    }
    return json_text(document, page.ascii_only) + "\n"


def _data(workload: AgreedWorkload) -> dict[str, Any]:
    return {
        "workload": workload.workload,
        "place": workload.label,
        "operation": workload.operation,
        "verdict": str(workload.verdict),
        "is_majority": workload.is_majority,
        "common": workload.common,
        "groups": [
            {"winner": group.winner, "label": group.label, "ranks": list(group.ranks)} for group in workload.groups
        ],
        "off": [
            {
                "rank": off.rank,
                "reason": str(off.reason),
                "gain": off.gain,
                "gain_interval": None if off.gain_interval is None else list(off.gain_interval),
            }
            for off in workload.off
        ],
    }


def _head(agreement: Agreement) -> Iterator[str]:
    for rank in agreement.ranks:
        cards = _listed(rank.cards)
        where = f"{', '.join(rank.devices) or 'no device'}{f' ({cards})' if cards else ''}"
        yield f"rank {rank.number}: {rank.path}, {plural(rank.workloads, 'workload')}, {where}"
    for odd in agreement.environment:
        yield f"environment: {odd.field}: " + "; ".join(f"{_ranks(ranks)} {value}" for value, ranks in odd.values)
    for note in agreement.notes:
        yield f"note: {note}"


def _details(workload: AgreedWorkload) -> Iterator[str]:
    off = {each.rank: each for each in workload.off}
    for index, group in enumerate(workload.groups):
        line = f"{_ranks(group.ranks)}: {group.label}"
        gains = [off[rank].gain for rank in group.ranks if rank in off]
        known = [gain for gain in gains if gain is not None]
        if index and known:
            # How much longer the others' winner takes there.
            line += f" (the other takes {percent_change(max(known))} there)"
        elif index and not gains:
            line += " (not clearly better)"
        elif index:
            line += " (the other can't run there)"
        yield line
    for reason, words in ((OffReason.NO_CHOICE, "nothing was right"), (OffReason.NOT_THERE, "not in the file")):
        ranks = [each.rank for each in workload.off if each.reason is reason]
        if ranks:
            yield f"{_ranks(ranks)}: {words}"
    if len(workload.groups) > 1 and workload.common is not None:
        yield f"in every tie set: {workload.common}"


def _totals(agreement: Agreement) -> str:
    said = [f"{agreement.count(AgreeVerdict.SAME)} alike", f"{agreement.count(AgreeVerdict.TIED)} within the ties"]
    said.append(f"{agreement.count(AgreeVerdict.DIFFERS)} differ")
    if agreement.count(AgreeVerdict.NONE):
        said.append(f"{agreement.count(AgreeVerdict.NONE)} without a choice")
    return ", ".join(said)


def _ranks(ranks: Sequence[int]) -> str:
    listed = _listed(list(map(str, ranks)))
    return f"rank {listed}" if len(ranks) == 1 else f"ranks {listed}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
