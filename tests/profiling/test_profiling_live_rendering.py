"""A path's verdict as people and scripts see it: table, Markdown, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from live_builders import CLASSIFY, PAGED, RAGGED, live, path, recorded, right
from trace_builders import CUDNN, FA3_RAGGED

from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.recording.recorded import Check, LiveRun
from autotune_cli.render.console import Console
from autotune_cli.render.profile_files import profile_json_text, profile_markdown
from autotune_cli.render.profile_table import print_profile

FORCED = path(forced_paged=True)


def table(run: LiveRun, **names: Any) -> list[str]:
    verdict, tried = judge_live_run(run, CLASSIFY, "llama-3.1-8b extend", **names)
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as caught:
        console.quiet = False
        print_profile(console, verdict, tried)
    return [line.rstrip() for line in caught.get().splitlines()]


def document(run: LiveRun) -> dict[str, Any]:
    verdict, tried = judge_live_run(run, CLASSIFY, "llama-3.1-8b extend")
    found = json.loads(profile_json_text(verdict, tried))
    assert isinstance(found, dict)
    return found


def markdown(run: LiveRun) -> str:
    return profile_markdown(*judge_live_run(run, CLASSIFY, "llama-3.1-8b extend"))


def rows(lines: list[str]) -> list[list[str]]:
    return [
        line.split(maxsplit=1) for line in lines if line.startswith(tuple(f"{plan.name} " for plan in FORCED.phases))
    ]


def test_a_pass(tmp_path: Path) -> None:
    lines = table(live(tmp_path, FORCED))
    assert lines[0] == "llama-3.1-8b extend on NVIDIA H200: expecting only paged attention"
    assert lines[-1] == (
        "PASS: only paged attention in eager (2 kernels), capture (2 kernels), replay (2 kernels), "
        "piecewise (2 kernels)"
    )
    assert [row[0] for row in rows(lines)] == ["eager", "capture", "replay", "piecewise"]
    capture = next(row[1] for row in rows(lines) if row[0] == "capture")
    assert capture.split() == ["ok", "captured,", "not", "executed", str(len(PAGED)), "-"]
    facts = [line.strip() for line in lines if "planned and executed" in line]
    assert facts[2] == (
        "replay: planned and executed paged (extend: a prefill in one whole CUDA graph); "
        "flashinfer.paged(path=fa2,page_size=1); the replay ran the kernel nodes of its graph, no more and no fewer"
    )


def test_each_phases_expectation_is_said_where_they_differ(tmp_path: Path) -> None:
    lines = table(live(tmp_path, path()))
    assert lines[0].endswith(
        "expecting ragged + paged + one merge each (eager); only paged attention (capture, replay, piecewise)"
    )
    assert lines[-1].startswith("PASS: ragged + paged + one merge each (eager); only paged attention (capture, replay,")
    assert "in eager (4 kernels), capture (2 kernels)" in lines[-1]
    assert [phase["expected"] for phase in document(live(tmp_path, path()))["phases"]] == ["pair", *["paged"] * 3]


def test_a_failed_check_and_a_kernel(tmp_path: Path) -> None:
    checks = (Check("piecewise", "bad_padding", False, "padding: qo_indptr ends at 5, not at 6"),)
    ran = {**right(FORCED), "replay": (*PAGED, FA3_RAGGED), "capture": (*PAGED, FA3_RAGGED)}
    run = live(tmp_path, FORCED, ran, piecewise={"checks": checks})
    lines = table(run)
    assert "  ! piecewise: padding: qo_indptr ends at 5, not at 6" in lines
    assert lines[-1].startswith("FAIL: 1 ragged kernel in capture: PrefillWithKVCacheKernel<CollectiveMainloop<Ragged")
    assert lines[-1].endswith("(and 2 more problems)")
    text = markdown(run)
    assert text.startswith("**FAIL: 1 ragged kernel in capture: PrefillWithKVCacheKernel&lt;CollectiveMainloop")
    assert "- piecewise: padding: qo\\_indptr ends at 5, not at 6\n" in text
    found = document(run)
    assert (found["verdict"], found["exit_code"]) == ("fail", 1)
    assert [problem["code"] for problem in found["phases"][3]["problems"]] == ["bad_padding"]


def test_phases_that_were_not_run(tmp_path: Path) -> None:
    run = live(
        tmp_path,
        FORCED,
        {"eager": PAGED},
        **{name: {"error": "OutOfMemoryError: CUDA out of memory"} for name in ("capture", "replay", "piecewise")},
    )
    lines = table(run)
    assert lines[-1] == "NOT RUN: capture: OutOfMemoryError: CUDA out of memory (and 2 more problems)"
    assert "  ! piecewise: OutOfMemoryError: CUDA out of memory" in lines
    found = document(run)
    assert (found["verdict"], found["exit_code"]) == ("not run", 4)
    assert [phase["name"] for phase in found["phases"]] == ["eager"]
    assert [problem["code"] for problem in found["problems"]] == ["phase_failed"] * 3
    assert markdown(run).startswith("**NOT RUN: capture: OutOfMemoryError")


def test_a_plan_that_is_not_what_runs(tmp_path: Path) -> None:
    spec = path("dllm_extend", forced_paged=True)
    error = {"error": "not run: what is planned is not what would run"}
    run = live(tmp_path, spec, {"eager": PAGED}, capture=error, replay=error)
    assert table(run)[-1].startswith("FAIL: capture: planned paged, executed ragged (dllm_extend in a graph: ")
    assert document(run)["problems"][1]["code"] == "planned_not_executed"


def test_nothing_to_judge(tmp_path: Path) -> None:
    checks = (Check("capture", "graph_nodes_unavailable", False, "takes cuda-bindings: no module"),)
    run = live(tmp_path, FORCED, capture={"nodes": None, "checks": checks})
    assert table(run)[-1] == "NOTHING TO JUDGE: takes cuda-bindings in capture: no module"
    assert document(run)["verdict"] == "nothing to judge"
    ran = {name: names for name, names in right(FORCED).items() if name != "replay"}
    assert table(live(tmp_path, FORCED, ran))[-1] == "NOTHING TO JUDGE: replay: its range is not in the recording"


def test_what_the_self_check_tried(tmp_path: Path) -> None:
    other = recorded(
        tmp_path / "p.json.gz",
        FORCED,
        {name: (*names, CUDNN) for name, names in right(FORCED).items()},
        injected="dense",
    )
    run = live(tmp_path, FORCED, injected=[other])
    tried = [f"a dense kernel run in {plan.name}: stopped" for plan in FORCED.phases]
    tried.append("all kernels taken away: nothing to judge, exit 3")
    assert [line for line in table(run) if "self-check" in line] == [f"  self-check: {line}" for line in tried]
    assert document(run)["self_check"] == tried
    assert all(f"- self-check: {line}\n" in markdown(run) for line in tried)


@pytest.mark.parametrize("ran", ["paged", "ragged"])
def test_json_holds_what_the_verdict_rests_on(tmp_path: Path, ran: str) -> None:
    kernels = right(FORCED) if ran == "paged" else dict.fromkeys(right(FORCED), RAGGED)
    found = document(live(tmp_path, FORCED, kernels))
    assert found["exit_code"] == (0 if ran == "paged" else 1)
    assert found["source"] == "llama-3.1-8b extend"
    assert found["devices"] == ["NVIDIA H200"]
    assert found["expectation"]["shapes"] == [[plan.name, "paged"] for plan in FORCED.phases]
    for phase in found["phases"]:
        assert phase["families"][ran]["launches"] == 2
        # Nothing ran in the capture.
        assert (phase["families"][ran]["us"] == 0.0) == (phase["name"] == "capture")
        assert phase["facts"][0].startswith("planned and executed paged")
        assert phase["plan"]["calls"] == 1
    assert [phase["captured_launches"] for phase in found["phases"]] == [0, len(kernels["capture"]), 0, 0]
    assert [phase["graph_launches"] for phase in found["phases"]] == [0, 0, 1, 0]
