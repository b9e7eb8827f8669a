"""What each workload's winner gains over a baseline, with the intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from autotune_cli.report.figures.look import SILENT, Figure, Spec, frame, interval_layers, row_names, tip
from autotune_cli.report.model import ResultPart, WorkloadPart

# From one speed-up to another this much larger, a logarithmic axis shows both.
_LOGARITHMIC: Final = 4.0
_FASTER, _UNCLEAR, _SLOWER = "faster", "can't be told apart", "slower"
_LOOKS: Final = {
    _FASTER: ("var(--better)", "circle"),
    _UNCLEAR: ("var(--unclear)", "square"),
    _SLOWER: ("var(--worse)", "triangle-down"),
}


def gain_figures(result: ResultPart) -> list[Figure]:
    """A figure a baseline."""
    found = []
    for number, over in enumerate(result.baselines):
        rows = [_row(part, number) for part in result.workloads]
        found.append(Figure(f"{result.id}-gain{number}", over, _spec(rows, over)))
    return found


def _row(part: WorkloadPart, number: int) -> Spec:
    gain = part.speedups[number]
    # Without the family, which stands in the table below.
    row: Spec = {"w": part.id, "name": part.name.removeprefix("attention."), "text": gain.text.split(" ")[0]}
    if gain.value is None:
        return row
    low, high = gain.interval or (gain.value, gain.value)
    what = _FASTER if low > 1.0 else _SLOWER if high < 1.0 else _UNCLEAR
    return row | {"speedup": gain.value, "low": low, "high": high, "what": what, "winner": part.winner or ""}


def _spec(rows: Sequence[Spec], over: str) -> Spec:
    # The line of no gain is always in sight.
    ends = [1.0, *(row[end] for row in rows if "speedup" in row for end in ("low", "high"))]
    wide = max(ends) > _LOGARITHMIC * min(ends)
    scale: Spec = {"type": "log", "base": 2, "nice": True} if wide else {"zero": False, "nice": True}
    spec = frame(0, f"Speed-up of each workload over {over}", rows, step=22)
    tips = [tip("name", "workload"), tip("winner", "winner")]
    tips += [tip(name, word, ".3f") for name, word in (("speedup", "speed-up"), ("low", "from"), ("high", "to"))]
    title = f"speed-up over {over}, with its 99 % interval"
    spec["layer"] = [
        *interval_layers("speedup", "what", _LOOKS, 1.0, title, scale, tips),
        _texts({"field": "high", "type": "quantitative"}, "isValid(datum.speedup)", "normal"),
        # In a word why there is none.
        _texts({"datum": 1.0, "type": "quantitative"}, "!isValid(datum.speedup)", "italic"),
    ]
    return spec


def _texts(x: Spec, which: str, style: str) -> Spec:
    return {
        "mark": {"type": "text", "align": "left", "dx": 8, "fontStyle": style, **SILENT},
        "encoding": {"x": x, "y": row_names(), "text": {"field": "text"}},
        "transform": [{"filter": which}],
    }
