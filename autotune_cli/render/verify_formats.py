"""Two servers held against each other, in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from autotune_cli.measure.statistics import Ratio
from autotune_cli.plain_text import json_text, markdown, shown
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.diff_words import change as change_words
from autotune_cli.render.formats import Page
from autotune_cli.verifying.measuring import SIDES
from autotune_cli.verifying.verdict import Change, Metric, Verification, VerifyVerdict

_STYLES = {
    VerifyVerdict.BETTER: "green",
    VerifyVerdict.WORSE: "bold red",
    VerifyVerdict.SAME: "dim",
    VerifyVerdict.UNCLEAR: "yellow",
}
_COLUMNS = ("", "base", "new", "new against base", "")


@dataclass(frozen=True)
class VerifyView:
    """What was found, and the servers' addresses by side."""

    verification: Verification
    addresses: dict[str, str]


def verify_table(view: VerifyView, page: Page) -> str:
    found = view.verification

    def draw(console: Console) -> None:
        for line in _head(view):
            console.say(line)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in _COLUMNS:
            table.add_column(column, overflow="fold")
        for change in found.changes:
            table.add_row(*map(Text, _cells(change)), style=_STYLES[change.verdict])
        if found.measured.pairs:
            console.print(table)
        console.say(f"exit {found.exit_code}: {found.words}")

    return drawn(draw, page, padded=False)


def verify_markdown(view: VerifyView, page: Page) -> str:
    found = view.verification
    lines = [f"### autotune verify: {markdown(found.words)} (exit {found.exit_code})", ""]
    lines += [f"- {markdown(line, begins=True)}" for line in _head(view)]
    if found.measured.pairs:
        lines += ["", f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(map(markdown, _cells(change)))} |" for change in found.changes]
    return "\n".join(lines) + "\n"


def verify_csv(view: VerifyView, page: Page) -> str:
    """A row a pair and side."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("ttft_s", "itl_s", "tokens_per_s", "tokens", "prompt_tokens")
    writer.writerow(("pair", "side", "was_first", *names))
    for pair in view.verification.measured.pairs:
        for side in SIDES:
            sample = pair.base if side == "base" else pair.new
            values = [getattr(sample, name) for name in names]
            writer.writerow([pair.number, side, side == pair.first, *("" if v is None else v for v in values)])
    return stream.getvalue()


def verify_json(view: VerifyView, page: Page) -> str:
    found = view.verification
    measured = found.measured
    failure = measured.failure
    expected = found.expectation
    document = {
        "verify_version": 1,
        "exit_code": found.exit_code,
        "exit_words": found.words,
        "servers": {side: {"address": view.addresses[side], "model": measured.models[side]} for side in SIDES},
        "plan": asdict(measured.plan),
        "threshold": found.threshold,
        "expectation": None
        if expected is None
        else {"metric": str(expected.metric), "share": expected.share, "kept": found.kept and str(found.kept)},
        "complete": failure is None and not measured.interrupted,
        "failure": None
        if failure is None
        else {"side": failure.side, "detail": failure.detail, "during": failure.during},
        "notes": list(found.notes),
        "changes": list(map(_data, found.changes)),
        "pairs": [
            {"pair": pair.number, "first": pair.first, "base": asdict(pair.base), "new": asdict(pair.new)}
            for pair in measured.pairs
        ],
    }
    return json_text(document, page.ascii_only) + "\n"


def _data(change: Change) -> dict[str, Any]:
    def ends(ratio: Ratio | None) -> list[float] | None:
        return None if ratio is None else [ratio.low, ratio.high]

    return {
        "metric": str(change.metric),
        "unit": change.metric.unit,
        "verdict": str(change.verdict),
        "base": change.base,
        "new": change.new,
        "base_spread": change.base_spread,
        "new_spread": change.new_spread,
        "ratio": None if change.ratio is None else change.ratio.value,
        "interval": ends(change.ratio),
    }


def _head(view: VerifyView) -> Iterator[str]:
    measured, plan = view.verification.measured, view.verification.measured.plan
    for side in SIDES:
        yield f"{side}: {view.addresses[side]}, {measured.models[side]}"
    at_a_time = "one request" if plan.concurrency == 1 else f"{plan.concurrency} requests at a time"
    pairs = f"{len(measured.pairs)} of {plan.pairs}" if len(measured.pairs) < plan.pairs else str(plan.pairs)
    yield (
        f"{pairs} interleaved pairs of {at_a_time}, {plan.input_words} words in, {plan.output_tokens} tokens out, "
        f"seed {plan.seed}"
    )
    for note in view.verification.notes:
        yield f"note: {note}"


def _cells(change: Change) -> tuple[str, ...]:
    ratio = change.ratio
    words = change_words(ratio.value, (ratio.low, ratio.high)) if ratio is not None else ""
    values = [_value(change.metric, value) for value in (change.base, change.new)]
    spreads = [
        f" ± {100 * spread:.1f} %" if value else ""
        for value, spread in zip((change.base, change.new), (change.base_spread, change.new_spread), strict=True)
    ]
    cells = (shown(value) + spread for value, spread in zip(values, spreads, strict=True))
    return (change.metric.words, *cells, words, str(change.verdict))


def _value(metric: Metric, value: float | None) -> str:
    return "-" if value is None else f"{value:.4g} {metric.unit}"
