"""The gain per weighted step: what it is made of, and where it is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from weighted_builders import served, traffic, weighed

from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.report import compare
from autotune_cli.measure.weighted import weighted_gain
from autotune_cli.render.formats import Page
from autotune_cli.render.run_formats import RunView, run_csv, run_json, run_markdown, run_table
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.schema import RunFile

RUN = served(
    weighed(8, 10.0, 1.5, 0.03, 300), weighed(64, 30.0, 1.1, 0.04, 100, layers=2), weighed(1, 5.0, 3.0, 1, None)
)


def test_it_is_the_baselines_time_over_the_winners_for_all_steps() -> None:
    gain = weighted_gain(RUN.workloads, "sglang")
    assert gain is not None
    own = 300 * 10.0 + 200 * 30.0
    assert gain.value == pytest.approx((300 * 15.0 + 200 * 33.0) / own)
    # A third and two thirds of the time, whose errors are independent.
    half = ((0.03 / 3) ** 2 + (0.04 * 2 / 3) ** 2) ** 0.5
    assert gain.interval == pytest.approx((gain.value - half, gain.value + half))
    assert (gain.workloads, gain.share) == (2, 1.0)


def test_a_workload_that_is_run_more_often_counts_more() -> None:
    rare, often = (
        weighted_gain((weighed(8, 10.0, 2.0, 0.1, steps), weighed(64, 10.0, 1.0, 0.0, 10)), "sglang")
        for steps in (1, 1000)
    )
    assert rare is not None
    assert often is not None
    assert rare.value < 1.1 < 1.9 < often.value


def test_where_the_baseline_is_missing_the_rest_counts_and_says_how_much_it_is() -> None:
    gain = weighted_gain((weighed(8, 10.0, 2.0, 0.1, 100), weighed(64, 30.0, None, None, 100)), "sglang")
    assert gain is not None
    assert (gain.value, gain.workloads, gain.share) == (2.0, 1, 0.25)
    assert weighted_gain((weighed(64, 30.0, None, None, 100),), "sglang") is None
    assert weighted_gain((weighed(8, 10.0, 2.0, 0.1, None),), "sglang") is None
    assert weighted_gain(RUN.workloads, "vllm") is None


def test_a_speedup_without_an_interval_leaves_the_gain_without_one() -> None:
    gain = weighted_gain((weighed(8, 10.0, 2.0, None, 100), weighed(64, 30.0, 1.1, 0.1, 100)), "sglang")
    assert gain is not None
    assert gain.interval is None


def test_what_is_printed() -> None:
    view = RunView(Path("run.json"), RUN)
    text = run_table(view, Page(file=True))
    assert "1.233x (1.205 .. 1.262) per weighted step over sglang 0.5.23" in text
    assert "traffic: azure.csv (lengths and times): 500 requests, 512,340 prompt and 105,220 output tokens" in text
    assert "simulated: sglang 0.5.23, chunks of 8192" in text
    # What the winners take, 300 x 10 and 200 x 30 us, in the place of what was estimated.
    assert "of all  time  batches" in text
    row = next(line for line in text.splitlines() if "300" in line and "attention.decode" in line)
    words = "attention.decode 8 ≤8192 graph 300 25 % 33 % 5..8 900..2100 1"
    assert " ".join(row.split()) == words
    table = run_markdown(view, Page())
    assert "| attention.decode | 8 | ≤8192 | graph | 300 | 25 % | 33 % | 5..8 | 900..2100 | 1 |" in table
    assert "per weighted step" in table
    document = json.loads(run_json(view, Page()))
    assert document["traffic"]["requests"] == 500
    assert document["weighted_speedups"][0]["value"] == pytest.approx(1.2333, abs=1e-4)
    assert document["workloads"][0]["weight"] == 300
    assert document["workloads"][0]["stands_for"]["batch"] == [5, 8]
    assert "weight" not in document["workloads"][2]
    assert run_csv(view, Page()).splitlines()[1].endswith(",300.0")


def test_a_page_has_it_too() -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")
    from autotune_cli.report.making import make_page
    from autotune_cli.report.page import page_html

    text = page_html(make_page([(Path("run.json"), RUN)], None, None), "/* no plotting */")
    assert "1.233×</b> <span>(1.205 to 1.262)</span><br>over sglang 0.5.23" in text
    assert "gain per weighted step of 2 workloads" in text
    assert "traffic: azure.csv (lengths and times): 500 requests" in text


def test_without_a_winner_somewhere_times_are_those_that_were_estimated() -> None:
    unknown = RUN.workloads[0].model_copy(update={"choice": None})
    text = run_table(RunView(Path("run.json"), served(unknown, RUN.workloads[1])), Page(file=True))
    assert "of all  est. time  batches" in text
    row = next(line for line in text.splitlines() if " 300 " in line)
    assert "25 %       50 %" in row


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_narrow_terminal_nothing_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.render.console import Console
    from autotune_cli.render.traffic import table_of, traffic_view

    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(traffic_view(table_of(RUN.workloads), width))
    words = " ".join(captured.get().split())
    assert "5..8" in words
    assert "900..2100" in words
    assert "…" not in words


def test_without_weights_nothing_is_said_of_traffic() -> None:
    plain = served(weighed(8, 10.0, 1.5, 0.03, None), traffic=None)
    view = RunView(Path("run.json"), plain)
    for text in (run_table(view, Page(file=True)), run_markdown(view, Page()), run_json(view, Page())):
        assert "traffic" not in text
        assert "weight" not in text


def test_a_file_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(dump_run(RUN), encoding="utf-8")
    assert read_run(path) == RUN


def test_what_stands_for_steps_has_a_weight() -> None:
    document = json.loads(dump_run(RUN))
    document["workloads"][0]["weight"] = None
    with pytest.raises(ValueError, match="has no weight"):
        RunFile.model_validate(document)


@pytest.mark.parametrize("other", [None, "fedcba9876543210"])
def test_diff_says_that_the_weights_are_of_another_traffic(other: str | None) -> None:
    changed = RUN.model_copy(update={"traffic": None if other is None else traffic(other), "created": "2026-11-22"})
    report = compare([LoadedFile(Path("A.json"), RUN)], [LoadedFile(Path("B.json"), changed)])
    (row,) = [item for item in report.environment if item.field == "traffic"]
    assert row.a == ("azure.csv (lengths and times), 01234567",)
    assert row.b == ("none" if other is None else "azure.csv (lengths and times), fedcba98",)
    assert row.effect == "shown"
