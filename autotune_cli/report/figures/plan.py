"""What the planned server gains over the untuned one, and loses against the best candidates, workload by workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from autotune_cli.measure.statistics import Ratio
from autotune_cli.report.figures.look import Figure, Looks, Spec, frame, interval_layers, tip
from autotune_cli.report.model import PlanRow, ResultPart

_FASTER, _SLOWER, _UNCLEAR = "faster", "slower", "the same or can't be told apart"
_LOOKS: Final[Looks] = {
    _FASTER: ("var(--better)", "circle"),
    _UNCLEAR: ("var(--unclear)", "square"),
    _SLOWER: ("var(--worse)", "triangle-down"),
}


def plan_figures(result: ResultPart) -> list[Figure]:
    """The two views; a gain that is known for no workload has none."""
    plan = result.planned
    if plan is None:
        return []
    over = f"over {plan.untuned}"
    gains = [_row(row, row.gain) for row in plan.rows if row.gain is not None]
    # The best over the plan: in both views what is right of 1 is good.
    losses = [_row(row, Ratio(1 / row.loss.value, 1 / row.loss.high, 1 / row.loss.low)) for row in plan.rows]
    views = (("gain", over, gains), ("loss", "over each workload's best", losses))
    return [Figure(f"{result.id}-plan-{name}", label, _spec(rows, label)) for name, label, rows in views if rows]


def _row(row: PlanRow, ratio: Ratio) -> Spec:
    what = _FASTER if ratio.low > 1.0 else _SLOWER if ratio.high < 1.0 else _UNCLEAR
    part = row.workload
    place = {"w": part.id, "name": part.name.removeprefix("attention."), "runs": row.runs, "best": row.best}
    return place | {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "what": what}


def _spec(rows: Sequence[Spec], label: str) -> Spec:
    spec = frame(0, f"Speed of the planned server {label}, for each workload", rows, step=22)
    tips = [tip("name", "workload"), tip("runs", "the server runs"), tip("best", "best of all")]
    tips += [tip(name, word, ".3f") for name, word in (("ratio", "ratio of times"), ("low", "from"), ("high", "to"))]
    title = f"speed {label}, with its 95 % interval"
    spec["layer"] = interval_layers("ratio", "what", _LOOKS, 1.0, title, {"zero": False, "nice": True}, tips)
    return spec
