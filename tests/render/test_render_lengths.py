"""A workload of several lengths: a table of what its choice loses at each, and what its captures have in common."""

from __future__ import annotations

import io
from pathlib import Path

from render_builders import BRACKETS, candidate, decode, held, result, run_file
from rich.console import Console

from autotune_cli.kernels.base import LengthPoint
from autotune_cli.render.run_data import summary
from autotune_cli.render.run_markdown import run_markdown
from autotune_cli.render.summary import print_run
from autotune_cli.results.schema import CandidateResult, RunFile

POINTS = (LengthPoint(context=1024), LengthPoint(context=8192))


def timed(key: str, short: float, long: float, **changes: object) -> CandidateResult:
    points = ((short, long), (short * 1.001, long * 1.001), (short, long), (short, long))
    means = tuple((a + b) / 2 for a, b in points)
    fields = {"points_us": points, "rounds": (0, 1, 2, 3), "rounds_us": means, "median_us": means[0]}
    return candidate(key, means[0], **(fields | changes))


def run(short: str = "short", mode: str = "graph") -> RunFile:
    workload = decode().model_copy(update={"points": POINTS, "mode": mode})
    default = timed("slow", 30.0, 80.0, default=True, frozen="no splits")
    return run_file(
        result(
            workload,
            timed("fast", 12.0, 40.0, frozen="at most 4 splits"),
            timed(short, 10.0, 60.0, frozen="KV split, 12 work items"),
            timed("other", 12.1, 60.0, frozen="of no interest"),
            default,
            key=workload.key,
            baselines=(held(default),),
        )
    )


def drawn(made: RunFile, width: int, every: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_run(console, made, every)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_of_a_terminal() -> None:
    text = drawn(run(), 140)
    rows = [line.split() for line in text.splitlines() if line.startswith(("≤", " ≤"))]
    assert rows == [
        ["≤1024", "50", "%", "12.00", "10.00", "+20.0", "%", "short", "+34.6", "%", "+50.0", "%"],
        ["≤8192", "50", "%", "40.00", "40.00", "-", "the", "choice", "-", "+20.0", "%"],
    ]
    # Of those that the table names, and of the default.
    assert "captured: fast: at most 4 splits" in text
    assert "captured: short: KV split, 12 work items" in text
    assert "captured: slow: no splits" in text
    assert "of no interest" not in text
    assert "captured: of no interest" in drawn(run(), 140, every=True)
    assert "prepared: fast: at most 4 splits" in drawn(run(mode="eager"), 140)


def test_a_narrow_terminal_gets_all_of_it() -> None:
    text = drawn(run(BRACKETS), 60)
    assert max(map(len, text.splitlines())) <= 60
    joined = " ".join(text.split())
    assert "≤1024 keys 50 % of all, choice 12.00 us, loses +20.0 %" in joined
    assert f"best 10.00 us: {BRACKETS}, loses +34.6 % over all, +50.0 % at worst" in joined
    assert "≤8192 keys 50 % of all, choice 40.00 us best: the choice, which loses +20.0 % at worst" in joined


def test_markdown_and_json() -> None:
    text = run_markdown(run("a|b"))
    assert r"| ≤1024 | 50 % | 12.00 | 10.00 | +20.0 % | a\|b | +34.6 % | +50.0 % |" in text
    assert "- captured: fast: at most 4 splits" in text
    (workload,) = summary(Path("x.json"), run())["workloads"]
    assert [(row["context"], row["best"], round(row["loss"], 3)) for row in workload["lengths"]] == [
        (1024, "short", 0.2),
        (8192, "fast", 0.0),
    ]
    (plain,) = summary(Path("x.json"), run_file(result()))["workloads"]
    assert "lengths" not in plain
