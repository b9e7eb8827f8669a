"""The plan on the page: the numbers of ``autotune plan``, for each device of the newer file, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from recorded import recorded
from report_builders import (
    HOSTILE,
    NO_PLOTTING,
    Element,
    data_of,
    html_of,
    page_of,
    served_run,
    small_run,
    tree_of,
)

from autotune_cli.planning.plan import Request, plan_of
from autotune_cli.render.devices import of_device
from autotune_cli.report.model import Unplanned
from autotune_cli.report.page import page_html
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")

SECTION = "One server for all of it"


def llama() -> RunFile:
    return of_device(read_run(recorded("llama-3.1-8b")), "h100")


def cells(tree: Element, table: str) -> list[list[str]]:
    (found,) = tree.find("table", id=table)
    rows = found.find("tbody")[0].find("tr")
    return [[each.text.strip() for each in row.children if isinstance(each, Element)] for row in rows]


def linked(tree: Element) -> list[str]:
    return [link.attributes["href"] for link in tree.find("nav")[0].find("a") if link.text == SECTION]


def test_it_has_the_numbers_of_autotune_plan() -> None:
    run = llama()
    plan = plan_of(run, Request())
    page = page_of(run)
    tree = tree_of(page_html(page, NO_PLOTTING))
    assert linked(tree) == ["#r0-plan"]
    assert cells(tree, "r0-settings") == [["--page-size 128", "1.061x (1.054 .. 1.069)", "nothing"]]
    rows = cells(tree, "r0-planned")
    assert len(rows) == len(plan.rows) == 20
    for row, planned, part in zip(rows, plan.rows, page.results[0].workloads, strict=True):
        name, share, runs, _, gain, best, loss = row
        assert (name, runs) == (part.name, planned.runs.label)
        assert float(share.removesuffix(" %")) == pytest.approx(100 * planned.share, abs=0.05)
        assert planned.gain is not None
        assert float(gain.partition(" ")[0]) == pytest.approx(planned.gain.value, abs=6e-4)
        same = planned.best.key == planned.runs.key
        assert (best, loss == "-") == ("the same" if same else planned.best.label, same)
        assert same or float(loss.partition(" ")[0]) == pytest.approx(100 * (planned.loss.value - 1), abs=0.06)
    said = tree.find("main")[0].text
    for text in (
        "weights: 20 workloads, all workloads alike: the result has no weights",
        "the weighted step: 1.061x (1.054 .. 1.069) over sglang (0.5.23)",
        "it takes 2.6 % (2.0 .. 3.1) longer than each workload's best",
        "1.0 % (0.7 .. 1.3) as one server can't be told anew for each workload",
        "decode step, mean of its workloads, 32 layers",
        "a kernel of this program, which SGLang has no option for",
        "~ measured once only: 8 workloads of 20",
    ):
        assert text in said, text


def test_rows_are_filtered_by_the_workload_they_are_of() -> None:
    tree = tree_of(html_of(served_run()))
    ids = [each.attributes["id"] for each in tree.find("details", class_="workload")]
    (table,) = tree.find("table", id="r0-planned")
    assert [row.attributes["data-workload"] for row in table.find("tbody")[0].find("tr")] == ids
    drawn = data_of(tree)["figures"]
    assert [row["w"] for row in drawn["r0-plan-gain"]["data"]["values"]] == ids
    gain, loss = drawn["r0-plan-gain"]["data"]["values"], drawn["r0-plan-loss"]["data"]["values"]
    assert [row["ratio"] for row in gain] == pytest.approx([100 / 80, 300 / 290])
    assert [row["ratio"] for row in loss] == pytest.approx([70 / 80, 1.0])
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in (*gain, *loss))
    assert [row["what"] for row in gain] == ["faster", "faster"]
    assert [row["what"] for row in loss] == ["slower", "the same or can't be told apart"]


def test_the_traffic_of_the_file_weighs() -> None:
    alike = served_run()
    decode, extend = alike.workloads
    weighed = alike.model_copy(
        update={
            "workloads": (decode.model_copy(update={"weight": 30.0}), extend.model_copy(update={"weight": 1.0})),
        }
    )
    plans = [page_of(run).results[0].planned for run in (alike, weighed)]
    assert [plan and plan.heading[1] for plan in plans] == [
        "weights: 2 workloads, all workloads alike: the result has no weights",
        "weights: 2 workloads, the result's traffic",
    ]
    assert [plan and plan.rows[0].share for plan in plans] == ["21.6 %", "89.2 %"]


def test_where_no_server_runs_it_there_is_no_section() -> None:
    cpu = served_run().device.model_copy(update={"device_kind": "cpu", "device": "AMD EPYC"})
    unknown = [each.model_copy(update={"engine": "wave"}) for each in served_run().workloads[0].baselines]
    first = served_run().workloads[0].model_copy(update={"baselines": tuple(unknown)})
    for run in (served_run(environments={"e": cpu}), served_run(workloads=(first,)), served_run(workloads=())):
        assert page_of(run).results[0].plan is None
        tree = tree_of(html_of(run))
        assert linked(tree) == []
        assert SECTION not in tree.find("main")[0].text


def test_a_result_that_cant_be_planned_says_why() -> None:
    plan = page_of(small_run()).results[0].plan
    assert isinstance(plan, Unplanned)
    assert plan.reason.startswith("no plan for SGLang: of no workload is a kernel known that it runs: ")
    tree = tree_of(html_of(small_run()))
    assert linked(tree) == ["#r0-plan"]
    assert plan.reason in [each.text for each in tree.find("p")]
    assert not tree.find("table", id="r0-planned")


def test_an_interrupted_run_is_planned_for_what_it_has() -> None:
    whole, part = (page_of(served_run(complete=complete)).results[0].planned for complete in (True, False))
    assert whole is not None
    assert part is not None
    told = "the file is not complete: the plan is for the 2 workloads that it has"
    assert part == replace(whole, notes=(told, *whole.notes))


def test_a_workload_whose_baseline_is_wrong_has_no_gain() -> None:
    run = served_run()
    untuned = run.workloads[0].baselines[0].model_copy(update={"missing": "incorrect: misses 3 of 8"})
    first = run.workloads[0].model_copy(update={"baselines": (untuned,)})
    run = run.model_copy(update={"workloads": (first, run.workloads[1])})
    plan = page_of(run).results[0].planned
    assert plan is not None
    assert plan.rows[0].gain_text == "wrong"
    assert "no gain for 1 workload: incorrect: misses 3 of 8" in plan.notes
    drawn = data_of(tree_of(html_of(run)))["figures"]["r0-plan-gain"]["data"]["values"]
    assert [row["w"] for row in drawn] == ["r0-w1"]


def test_of_two_files_the_newer_is_planned() -> None:
    page = page_of(served_run(), served_run())
    assert [(each.side, each.planned is not None) for each in page.results] == [("B", True), ("A", False)]
    assert linked(tree_of(page_html(page, NO_PLOTTING))) == ["#b0-plan"]


def test_gains_are_over_the_engines_baseline_that_was_asked_for() -> None:
    run = llama()
    run = run.model_copy(update={"workloads": run.workloads[:1]})
    over = {
        asked: plan.untuned
        for asked in (None, "sglang --attention-backend flashinfer", "vllm", "no such")
        if (plan := page_of(run, baseline=asked).results[0].planned) is not None
    }
    assert over == {
        None: "sglang",
        "sglang --attention-backend flashinfer": "sglang --attention-backend flashinfer",
        "vllm": "sglang",
        "no such": "sglang",
    }


def test_each_device_has_its_own() -> None:
    run = served_run()
    moved = run.workloads[0].model_copy(update={"environment": "f"})
    environments = {"e": run.device, "f": run.device.model_copy(update={"device": "NVIDIA H200"})}
    run = run.model_copy(update={"workloads": (*run.workloads, moved), "environments": environments})
    page = page_of(run)
    assert [each.planned and len(each.planned.rows) for each in page.results] == [2, 1]
    assert linked(tree_of(html_of(run))) == ["#r0-plan", "#r1-plan"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_are_text_in_a_plan(name: str) -> None:
    odd = tree_of(html_of(served_run(HOSTILE[name])))
    assert shape(odd) == plain_shape()
    rows = cells(odd, "r0-planned")
    wanted = HOSTILE[name] if name != "control" else r"\x1b[31m\x00\u202e\u2028\x85"
    assert [row[2] for row in rows] == [wanted] * 2


@cache
def plain_shape() -> list[tuple[str, tuple[str, ...]]]:
    """Of the same page with a harmless name."""
    return shape(tree_of(html_of(served_run("plain"))))


def shape(tree: Element) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, tuple(each.attributes)) for each in tree.walk()]


def test_a_workload_that_is_there_twice_is_planned_once() -> None:
    run: RunFile = served_run()
    later = run.workloads[0].model_copy(update={"measured_at": "2026-11-28T00:00:00Z"})
    plan = page_of(run.model_copy(update={"workloads": (*run.workloads, later)})).results[0].planned
    assert plan is not None
    assert [row.workload.id for row in plan.rows] == ["r0-w1", "r0-w2"]
