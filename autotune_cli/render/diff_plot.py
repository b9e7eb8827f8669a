"""A picture of the ratios with their intervals. Needs matplotlib, which is optional."""

from __future__ import annotations

import math
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_cli.comparing.exit_status import exit_status
from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.comparing.verdicts import Tone, for_every_tone
from autotune_cli.errors import AutotuneError, BadField
from autotune_cli.plain_text import shown
from autotune_cli.render.diff_model import DiffModel
from autotune_cli.render.text import plural
from autotune_cli.results.atomic import cannot_write

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIXES = (".png", ".svg")
# More rows than this can't be read; the most important are drawn.
MOST_ROWS = 60
_COLOURS = for_every_tone({
    Tone.FAILED: "#c0392b",
    Tone.WORSE: "#c0392b",
    Tone.BETTER: "#1e8449",
    Tone.NEWS: "#8e44ad",
    Tone.UNCLEAR: "#b7950b",
    Tone.PLAIN: "#7f8c8d",
    Tone.FAINT: "#7f8c8d",
})  # fmt: skip
_BAND = "#e5e8e8"
# Inches. A label's lines are folded, never cut; the picture grows with them.
_WIDTH, _LINE, _GAP = 7.0, 0.16, 0.09
_CHARACTERS = 84
# Beyond this many per cent the axis is logarithmic, so that one large change doesn't flatten the others.
_LINEAR = 50.0


class MissingOption(AutotuneError):
    """Something optional is not installed."""

    template = "{what} needs {package}, which is not installed: {fix}"


def check_plot(path: Path) -> None:
    """Refuse before anything is computed.

    Raises:
        BadField: neither .png nor .svg.
        MissingOption: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadField(field="plot", detail=f"{str(path)!r} must end in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MissingOption(
            what="--plot", package="matplotlib", fix="pip install 'kernel-autotune[plot]', or pip install matplotlib"
        ) from error


def plot(report: Report, path: Path) -> None:
    """Draw the ratios of all timed candidates, the most important on top, each over the band of its threshold.

    Raises:
        CannotWrite: a full disk, a read-only folder ...
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    # A character that the font doesn't have is a box in the picture, and no news on the terminal.
    warnings.filterwarnings("ignore", message="Glyph ", category=UserWarning)
    model = DiffModel(report, exit_status(report, ()))
    rows = model.timed[:MOST_ROWS]
    labels = [_folded(shown(f"{row.workload_label}  {row.label}")) for row in rows]
    heights = [_GAP + _LINE * (1 + label.count("\n")) for label in labels] or [_GAP + _LINE]
    # Of each row, counted from the top, in inches; the axis is turned over.
    middles = [sum(heights[:number]) + height / 2 for number, height in enumerate(heights)]
    figure = pyplot.figure(figsize=(_WIDTH, sum(heights)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_ylim(sum(heights), 0.0)
    for row, middle, height in zip(rows, middles, heights, strict=False):
        _draw(axes, row, middle, height)
    axes.axvline(0.0, color="black", linewidth=0.8)
    # matplotlib would take what stands between dollars for a formula.
    axes.set_yticks(middles[: len(rows)], labels, fontsize=7, linespacing=1.2, parse_math=False)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(
        f"change of the time from A to B in %, with its {report.rule.coverage:.0%} interval: right is slower",
        fontsize=8,
    )
    _scale(axes, rows)
    if not rows:
        axes.text(0.5, 0.5, "no candidate has times on both sides", transform=axes.transAxes, ha="center", va="center")
    _name(axes, model, len(rows), len(model.timed))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date inside, so that equal input gives an equal file.
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        # "tight" takes all that was drawn, however far to the left labels reach.
        figure.savefig(path, dpi=120, metadata=metadata, bbox_inches="tight", pad_inches=0.15)
    except OSError as error:
        cannot_write(path, error)
    finally:
        pyplot.close(figure)


def _draw(axes: Any, row: Comparison, middle: float, height: float) -> None:
    """One row: its threshold's band, the estimate, and the interval where there is one."""
    decision = row.decision
    assert decision.ratio is not None
    if decision.threshold is not None:
        band = 100.0 * decision.threshold
        axes.barh(middle, 2.0 * band, height, -band, color=_BAND, linewidth=0.0, zorder=0)
    value, bar = _change(decision.ratio), None
    if decision.interval is not None and all(map(math.isfinite, decision.interval)):
        low, high = map(_change, decision.interval)
        # An estimate at the edge of its interval may lie outside by a rounding error.
        bar = [[max(0.0, value - low)], [max(0.0, high - value)]]
    colour = _COLOURS[row.verdict.row.tone]
    axes.errorbar(value, middle, xerr=bar, fmt="o", markersize=3.5, capsize=2.5, color=colour)


def _change(ratio: float) -> float:
    """In per cent."""
    return 100.0 * (ratio - 1.0)


def _scale(axes: Any, rows: Sequence[Comparison]) -> None:
    """Both sides of no change, at least as far as twice the widest band."""
    ends = [2.0]
    for row in rows:
        interval = row.decision.interval or ()
        ends += [abs(_change(each)) for each in (row.decision.ratio or 1.0, *interval) if math.isfinite(each)]
        ends.append(200.0 * (row.decision.threshold or 0.0))
    most = 1.08 * max(ends)
    if most > _LINEAR:
        from matplotlib.ticker import FuncFormatter  # type: ignore[import-not-found,unused-ignore]

        axes.set_xscale("symlog", linthresh=10.0)
        most *= 1.25
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    # No time is less than nothing: -100 % is as far as it goes.
    axes.set_xlim(max(-most, -110.0), most)


def _name(axes: Any, model: DiffModel, drawn: int, timed: int) -> None:
    """What A and B are, how many rows of how many these are, and the legend."""
    from matplotlib.lines import Line2D  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.patches import Patch  # type: ignore[import-not-found,unused-ignore]

    which = f"the {drawn} most important of " if drawn < timed else ""
    lines = [_folded(shown(line), 110) for line in model.sides]
    lines.append(f"{which}{plural(timed, 'candidate')} with times on both sides")
    handles: list[Any] = [
        Line2D([], [], marker="o", markersize=3.5, color=_COLOURS[verdict.row.tone], label=f"{verdict} ({number})")
        for verdict, number in model.legend
    ]
    handles.append(Patch(color=_BAND, label="within the threshold"))
    axes.set_title("\n".join(lines), fontsize=8, loc="left", parse_math=False, pad=24)
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(handles),
        fontsize=7,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _folded(text: str, characters: int = _CHARACTERS) -> str:
    """In lines of at most that many characters, at spaces where there are any."""
    return "\n".join(textwrap.wrap(text, characters, break_on_hyphens=False)) or text
