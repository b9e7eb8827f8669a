"""The figures: Vega-Lite takes them, intervals and axes are right, and names are where there is room."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from recorded import recorded
from report_builders import SESSIONS, page_of, small_run

from autotune_cli.report.figures.change import MOST_ROWS, change_figure
from autotune_cli.report.figures.gains import gain_figures
from autotune_cli.report.figures.history import history_specs
from autotune_cli.report.figures.look import Figure
from autotune_cli.report.figures.times import _ticks, time_figures
from autotune_cli.results.files import read_run


@cache
def llama() -> Any:
    run = read_run(recorded("llama-3.1-8b"))
    return page_of(run).results[0]


def values(figure: Figure) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = figure.spec["data"]["values"]
    return found


def test_vega_lite_takes_all_of_them() -> None:
    vl_convert = pytest.importorskip("vl_convert", reason="not installed: pip install vl-convert-python")
    result = llama()
    page = page_of(small_run(), small_run(0.8))
    assert page.changes is not None
    change = change_figure(page.changes)
    assert change is not None
    specs = [change.spec, *history_specs(True), gain_figures(result)[1].spec]
    specs += [views[1].spec for views in time_figures(result).values()]
    for spec in specs:
        known = {key: value for key, value in spec.items() if key != "usermeta"}
        # Outside of a page there is no container.
        vega = vl_convert.vegalite_to_vega({**known, "width": 400, "height": 200})
        # A field that is misspelt would be no error but drop a mark.
        assert len(vega["marks"]) == len(spec["layer"])


@pytest.mark.parametrize(
    ("interval", "word"),
    [((1.01, 1.03), "faster"), ((0.99, 1.03), "can't be told apart"), ((0.98, 1.01), "can't be told apart"),
        ((1.0, 1.0), "can't be told apart"),
     ((0.97, 0.99), "slower")],
)  # fmt: skip
def test_a_gain_is_one_beyond_its_interval(interval: tuple[float, float], word: str) -> None:
    run = small_run()
    first = run.workloads[0]
    held = first.baselines[0].model_copy(update={"speedup": sum(interval) / 2, "speedup_interval": interval})
    first = first.model_copy(update={"baselines": (held,)})
    (result,) = page_of(run.model_copy(update={"workloads": (first,)})).results
    (row,) = values(gain_figures(result)[0])
    assert row["what"] == word
    assert (row["low"], row["high"]) == interval


def test_a_workload_without_a_gain_keeps_its_row() -> None:
    (result,) = page_of(small_run()).results
    rows = values(gain_figures(result)[0])
    assert len(rows) == len(result.workloads)
    assert [row["text"] for row in rows] == ["1.278", "1.278", "1.278", "wrong", "-"]
    assert "speedup" not in rows[3]


def test_gains_far_apart_are_on_a_logarithmic_axis() -> None:
    result = llama()
    near, far = gain_figures(result)
    assert near.spec["layer"][2]["encoding"]["x"]["scale"] == {"zero": False, "nice": True}
    # From 1.0 to 3.1 a linear one will do.
    assert far.spec["layer"][2]["encoding"]["x"]["scale"] == {"zero": False, "nice": True}
    from autotune_cli.report.figures.gains import _spec

    rows = [values(near)[0] | {"high": 9.0}, *values(near)[1:]]
    assert _spec(rows, "x")["layer"][2]["encoding"]["x"]["scale"]["type"] == "log"


def test_times_against_length_and_number() -> None:
    result = llama()
    views = time_figures(result)
    assert list(views) == ["attention.decode, graph", "attention.prefill, eager", "attention.extend, eager"]
    context, batch = views["attention.decode, graph"]
    assert (context.label, batch.label) == ("context", "batch")
    for figure in (context, batch):
        scales = [figure.spec["layer"][-1]["encoding"][axis]["scale"]["type"] for axis in ("x", "y")]
        assert scales == ["log", "log"]
    rows = [row for row in values(context) if row["w"] == "r0-w6"]
    by_series = {row["series"]: row for row in rows}
    assert by_series["winner"] == {
        "w": "r0-w6", "name": "attention.decode 8 x ≤32768 graph", "line": "batch 8", "x": 32768, "series": "winner",
        "us": pytest.approx(292.4, rel=1e-3), "low": pytest.approx(291.3, rel=1e-2),
        "high": pytest.approx(293.5, rel=1e-2),
    }  # fmt: skip
    assert by_series["floor"]["us"] == pytest.approx(272.3, rel=1e-3)
    # What tells the lines apart is what differs besides the axis.
    assert {row["line"] for row in values(batch)} == {
        f"context {context:,}" for context in (1024, 4096, 8192, 32768, 131072)
    }
    assert {row["line"] for row in values(views["attention.extend, eager"][0])} >= {"batch 16, new 256"}


def test_without_a_floor_or_a_baseline_none_is_in_the_legend() -> None:
    (result,) = page_of(small_run()).results
    both = time_figures(result)["attention.decode, graph"][0]
    assert len(both.spec["layer"]) == 6
    found = time_figures(result)["topk.select, eager"][0]
    assert found.spec["layer"][-2]["encoding"]["color"]["scale"]["domain"] == ["winner"]
    assert {row["series"] for row in values(found)} == {"winner", "floor"}


@pytest.mark.parametrize(
    ("times", "ticks"),
    [
        ((80.0, 170.0), [80.0, 100.0, 120.0, 150.0]),
        ((3.0, 90.0), [5.0, 10.0, 20.0, 50.0]),
        ((0.5, 900.0), [1.0, 10.0, 100.0]),
    ],
)
def test_an_axis_has_some_numbers_but_not_many(times: tuple[float, ...], ticks: list[float]) -> None:
    assert [each for each in _ticks(times) if times[0] <= each <= times[-1]] == pytest.approx(ticks)


def test_each_line_is_named_once_and_names_are_not_on_each_other() -> None:
    result = llama()
    named = [row for row in values(time_figures(result)["attention.extend, eager"][0]) if "align" in row]
    assert len(named) == len({row["line"] for row in named}) == 5
    sides = {row["line"]: row["align"] for row in named}
    # At neighbouring places, one to each side.
    assert (sides["batch 16, new 256"], sides["batch 4, new 1,024"]) == ("right", "left")
    assert sides["batch 1, new 512"] == "left"
    assert sides["batch 1, new 2,048"] == "right"


def test_names_at_one_place_are_above_and_below() -> None:
    run = read_run(recorded("deepseek-v3.2"))
    view = time_figures(page_of(run).results[1])["topk.select, eager"][0]
    named = {row["line"]: row for row in values(view) if "align" in row}
    assert named["rows 1"]["x"] == named["rows 16"]["x"] == 262144
    assert named["rows 1"]["dy"] > 0 > named["rows 16"]["dy"]


def test_of_many_changes_the_most_important_are_drawn() -> None:
    page = page_of(read_run(SESSIONS[0]), read_run(SESSIONS[1]))
    assert page.changes is not None
    from dataclasses import replace

    many = replace(page.changes, ratios=page.changes.ratios * 3)
    figure = change_figure(many)
    assert figure is not None
    rows = values(figure)
    assert len(rows) == MOST_ROWS < len(many.ratios)
    assert len({row["w"] for row in rows}) == MOST_ROWS
    first = page.changes.ratios[0]
    assert rows[0]["percent"] == pytest.approx(100 * (first.value - 1))
    assert change_figure(replace(page.changes, ratios=())) is None
