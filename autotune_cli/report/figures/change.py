"""How each candidate's time changed from A to B, with the intervals."""

from __future__ import annotations

from typing import Final

from autotune_cli.comparing.verdicts import Tone, for_every_tone
from autotune_cli.report.figures.look import Figure, frame, interval_layers, tip
from autotune_cli.report.model import Changes

MOST_ROWS: Final = 60
"""The most important are drawn; more can't be read."""
_LOOKS = for_every_tone({
    Tone.FAILED: ("var(--worse)", "cross"),
    Tone.WORSE: ("var(--worse)", "triangle-up"),
    Tone.BETTER: ("var(--better)", "triangle-down"),
    Tone.NEWS: ("var(--news)", "diamond"),
    Tone.UNCLEAR: ("var(--unclear)", "square"),
    Tone.PLAIN: ("var(--faint)", "circle"),
    Tone.FAINT: ("var(--faint)", "circle"),
})  # fmt: skip


def change_figure(changes: Changes) -> Figure | None:
    """The most important on top; None where nothing has an interval."""
    drawn = changes.ratios[:MOST_ROWS]
    if not drawn:
        return None
    rows = [
        {
            "w": f"change{number}",
            "name": f"{ratio.workload}  {ratio.label}",
            "operation": ratio.operation,
            "verdict": ratio.verdict,
            "percent": _percent(ratio.value),
            "low": _percent(ratio.interval[0]),
            "high": _percent(ratio.interval[1]),
        }
        for number, ratio in enumerate(drawn)
    ]
    spec = frame(0, "Change of each candidate's time from A to B", rows, step=20)
    looks = {ratio.verdict: _LOOKS[ratio.tone] for ratio in drawn}
    tips = [tip("name", "candidate"), tip("verdict", "verdict")]
    tips += [tip(name, word, "+.2f") for name, word in (("percent", "change, %"), ("low", "from"), ("high", "to"))]
    title = f"change of the time in %, with its {100 * changes.coverage:.0f} % interval; right: B is slower"
    spec["layer"] = interval_layers("percent", "verdict", looks, 0.0, title, {"zero": True}, tips)
    return Figure("changes-figure", "", spec)


def _percent(ratio: float) -> float:
    return 100.0 * (ratio - 1.0)
