"""The picture of ``autotune diff --plot``: nothing is cut, and it says what it shows."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install matplotlib")

sys.path.insert(0, str(Path(__file__).parents[1] / "comparing"))
from diff_builders import FAST, candidate, noisy, report, result, run, session
from matplotlib.image import imread

from autotune_cli.comparing.records import Report
from autotune_cli.render.diff_plot import MOST_ROWS, plot

LONG = "mine." + "a_kernel_whose_name_goes_on_and_on_" * 6 + "(block=128)"


def texts(path: Path) -> list[str]:
    """What is written in an SVG file, in the order of drawing: matplotlib keeps it beside the outlines."""
    return [html.unescape(text.strip()) for text in re.findall(r"<!--(.*?)-->", path.read_text(), flags=re.DOTALL)]


def drawn(of: Report, folder: Path) -> tuple[str, tuple[int, int]]:
    """All that is written in the picture, and the size of the PNG file in pixels, whose edge must be empty."""
    for suffix in ("svg", "png"):
        plot(of, folder / f"x.{suffix}")
    pixels = imread(folder / "x.png")[:, :, :3]
    edge = 6
    for strip in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        assert (strip == 1.0).all(), "something reaches the edge of the picture"
    return "\n".join(texts(folder / "x.svg")), pixels.shape[:2]


def slower_by(factor: float, *keys: str, batches: tuple[int, ...] = (1,)) -> Report:
    def side(times: float, seed: int) -> object:
        many = [[candidate(key, noisy(100.0 * times, (key, seed, batch))) for key in keys] for batch in batches]
        return run(*(result(each, batch) for each, batch in zip(many, batches, strict=True)))

    return report(side(1.0, 1), side(factor, 2))  # type: ignore[arg-type]


def test_the_sides_the_verdicts_and_the_threshold_are_named(tmp_path: Path) -> None:
    said, _ = drawn(report(session(1), session(2, {FAST: 1.1})), tmp_path)
    for wanted in (
        "A: a0.json (3 workloads)",
        "B: b0.json (3 workloads)",
        "6 candidates with times on both sides",
        "slower (3)",
        "faster (0)",
        "within the threshold",
        "right is slower",
    ):
        assert wanted in said


def test_a_long_label_is_whole(tmp_path: Path) -> None:
    said, _ = drawn(slower_by(1.05, LONG, FAST), tmp_path)
    assert LONG in "".join(said.split("\n"))


@pytest.mark.parametrize("key", ["mine.$x^{$(a=1)", "mine.日本(a=1)", "a" * 2000, "<b>&amp;</b>"])
def test_labels_are_text(tmp_path: Path, key: str, recwarn: pytest.WarningsRecorder) -> None:
    said, _ = drawn(slower_by(1.05, key), tmp_path)
    assert key in "".join(said.split("\n"))
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def test_one_row_and_none(tmp_path: Path) -> None:
    said, (height, _) = drawn(slower_by(1.0, FAST), tmp_path)
    assert "1 candidate with times on both sides" in said
    assert height < 300
    said, _ = drawn(slower_by(1.0, FAST), tmp_path)
    nothing = report(run(result([candidate(FAST, noisy(1, 1))], 1)), run(result([candidate("b", noisy(1, 1))], 1)))
    assert "no candidate has times on both sides" in drawn(nothing, tmp_path)[0]


def test_of_many_rows_the_most_important_are_drawn_at_the_same_height(tmp_path: Path) -> None:
    keys = tuple(f"lib.k(n={n})" for n in range(20))
    said, (height, _) = drawn(slower_by(1.02, *keys, batches=(1, 2, 4, 8)), tmp_path)
    assert f"the {MOST_ROWS} most important of 80 candidates" in said
    assert said.count("lib.k(n=") == MOST_ROWS
    _, (few, _) = drawn(slower_by(1.02, *keys), tmp_path)
    assert (height - few) / 120 == pytest.approx(40 * 0.25, rel=0.02)


def test_a_large_change_leaves_the_small_ones_apart(tmp_path: Path) -> None:
    a = run(result([candidate("x", noisy(10, 1)), candidate("y", noisy(10, 2))], 1))
    b = run(result([candidate("x", noisy(2000, 3)), candidate("y", noisy(10.3, 4))], 1))
    said, _ = drawn(report(a, b), tmp_path)
    assert "+10" in said.split("\n")
    assert "-100" in said.split("\n")


def test_equal_input_gives_an_equal_file(tmp_path: Path) -> None:
    of = slower_by(1.05, FAST)
    plot(of, tmp_path / "a.png")
    plot(of, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
