"""What is required of winners: what that costs, and who breaks it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from render_builders import BRACKETS, candidate, result, run_file, topk
from rich.console import Console

from autotune_cli.render.run_data import summary
from autotune_cli.render.run_markdown import run_markdown
from autotune_cli.render.summary import print_run
from autotune_cli.results.schema import CandidateResult, ConstraintCost, PropertyVerdict, RunFile, WorkloadResult

KEPT = (PropertyVerdict(name="deterministic", ok=True, compared=7),)
BROKEN = (PropertyVerdict(name="deterministic", ok=False, compared=7, message="3 of 7 runs differed in 2 of 16 rows"),)
REQUIRED = ("deterministic",)


def loose(key: str = "loose", us: float = 100.0, **changes: object) -> CandidateResult:
    return candidate(key, us, properties=BROKEN, **changes)


def dear(rows: int = 16, ratio: float = 1.25, without: str = "loose") -> WorkloadResult:
    cost = ConstraintCost(best="strict", without=without, ratio=ratio, interval=(ratio - 0.01, ratio + 0.01))
    others = (candidate("strict", 125.0, properties=KEPT), loose(without))
    return result(topk(rows), *others, winner="strict", required=REQUIRED, constraint=cost)


def drawn(made: RunFile, every: bool = False, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_run(console, made, every)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_price_of_a_workload_and_of_all() -> None:
    text = drawn(run_file(dear(), dear(64, 1.5)))
    assert (
        "  topk.select 16 x 262144: deterministic costs +25.0 % (+24.0 .. +26.0); without it loose, 100.0 us, which is "
        "not deterministic: 3 of 7 runs differed in 2 of 16 rows" in " ".join(text.split("\n"))
    )
    # The square root of 1.25 * 1.5.
    assert "deterministic costs 1.369x (1.250 .. 1.500), 2 workloads" in text
    assert "costs" not in drawn(run_file(result()))


def test_it_may_cost_nothing() -> None:
    free = ConstraintCost(best="strict", without="strict", ratio=1.0, interval=(1.0, 1.0))
    text = drawn(run_file(dear().model_copy(update={"constraint": free})))
    assert "topk.select 16 x 262144: deterministic costs nothing: no other is faster" in text
    assert "deterministic costs 1.000x" in text


def test_every_candidate_tells_what_it_keeps() -> None:
    out = loose("out", 90.0, status="eliminated", reason=loose().broken)
    made = run_file(dear().model_copy(update={"candidates": (*dear().candidates, out)}))
    text = " ".join(drawn(made, every=True, width=60).split())
    assert "strict ok, 125.0 ± 0.5 us, 2 rounds: winner; deterministic" in text
    told = "not deterministic: 3 of 7 runs differed in 2 of 16 rows"
    assert f"loose ok, 100.0 ± 0.5 us, 2 rounds: {told}" in text
    assert text.count(told) == 3  # of each that breaks it, and in the price


def test_no_winner_says_who_breaks_what() -> None:
    text = drawn(run_file(result(topk(), loose(), winner=None, required=REQUIRED)))
    assert (
        "no winner: none that is right keeps what is required; loose: not deterministic: 3 of 7 runs differed"
        in " ".join(text.split())
    )


def test_markdown_and_json() -> None:
    text = run_markdown(run_file(dear(without="a|b")))
    assert r"- topk.select 16 x 262144: deterministic costs +25.0 % (+24.0 .. +26.0); without it a\|b, 100.0 us" in text
    assert "- deterministic costs 1.250x" in text
    document = summary(Path("x.json"), run_file(dear()))
    (workload,) = document["workloads"]
    assert workload["required"] == ["deterministic"]
    assert (workload["constraint"]["without"], workload["constraint"]["ratio"]) == ("loose", 1.25)
    assert workload["broken"] == {"loose": "not deterministic: 3 of 7 runs differed in 2 of 16 rows"}
    (cost,) = document["costs"]
    assert (cost["required"], cost["geometric_mean"], cost["workloads"]) == ("deterministic", 1.25, 1)
    plain = summary(Path("x.json"), run_file(result()))
    assert "costs" not in plain
    assert not {"required", "constraint", "broken"} & plain["workloads"][0].keys()


def test_names_are_no_markup() -> None:
    assert BRACKETS in " ".join(drawn(run_file(dear(without=BRACKETS))).split("\n"))


def test_a_winner_that_breaks_it_is_no_valid_result() -> None:
    with pytest.raises(ValueError, match="the choice names loose, which doesn't keep what is required"):
        result(topk(), loose(), winner="loose", required=REQUIRED)
    cost = ConstraintCost(best="strict", without="nobody", ratio=1.0)
    with pytest.raises(ValueError, match="over nobody, which is no candidate"):
        result(topk(), candidate("strict", 1.0, properties=KEPT), winner="strict", required=REQUIRED, constraint=cost)
