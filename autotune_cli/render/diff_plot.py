"""A picture of the ratios with their intervals. Needs matplotlib, which is optional."""

from __future__ import annotations

import warnings
from pathlib import Path

from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.comparing.refusals import MissingOption
from autotune_cli.comparing.verdicts import Verdict
from autotune_cli.errors import BadOption
from autotune_cli.plain_text import shown
from autotune_cli.results.files import cannot_write

SUFFIXES = (".png", ".svg")
# More rows than this can't be read; the most important are drawn.
MOST_ROWS = 60
_COLOURS = {Verdict.SLOWER: "#c0392b", Verdict.FASTER: "#1e8449", Verdict.AMBIGUOUS: "#b7950b"}


def check_plot(path: Path) -> None:
    """Refuse before anything is computed.

    Raises:
        BadOption: neither .png nor .svg.
        MissingOption: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadOption(option="--plot", detail=f"{str(path)!r} must end in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MissingOption(
            what="--plot", package="matplotlib", fix="pip install 'kernel-autotune[plot]', or pip install matplotlib"
        ) from error


def plot(report: Report, path: Path) -> None:
    """Draw the ratios of all timed candidates, the most important on top.

    Raises:
        CannotWrite: a full disk, a read-only folder ...
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    # A character that the font doesn't have is a box in the picture, and no news on the terminal.
    warnings.filterwarnings("ignore", message="Glyph ", category=UserWarning)
    timed = [comparison for comparison in report.comparisons if comparison.decision.interval is not None]
    rows = timed[:MOST_ROWS]
    figure, axes = pyplot.subplots(figsize=(11, 1.2 + 0.26 * max(len(rows), 3)))
    axes.axvline(0.0, color="black", linewidth=0.8)
    for height, row in enumerate(reversed(rows)):
        _draw(axes, height, row)
    # matplotlib would take what stands between dollars for a formula.
    labels = [shown(f"{row.place}  {row.label}") for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels, fontsize=7, parse_math=False)
    axes.set_xlabel("time of B over A, change in % (right is slower), with interval")
    axes.set_title(f"{len(rows)} of {len(timed)} candidates with times on both sides", fontsize=9, loc="left")
    figure.tight_layout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date inside, so that equal input gives an equal file.
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=120, metadata=metadata)
    except OSError as error:
        cannot_write(path, error)
    finally:
        pyplot.close(figure)


def _draw(axes: object, height: int, row: Comparison) -> None:
    decision = row.decision
    assert decision.ratio is not None
    assert decision.interval is not None
    value, low, high = (100.0 * (ratio - 1.0) for ratio in (decision.ratio, *decision.interval))
    colour = _COLOURS.get(row.verdict, "#7f8c8d")
    axes.errorbar(  # type: ignore[attr-defined]
        value, height, xerr=[[value - low], [high - value]], fmt="o", markersize=3, capsize=2, color=colour
    )
