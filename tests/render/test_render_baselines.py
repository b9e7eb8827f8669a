"""What the speed-ups are over, in words: above the table, in its column, below it."""

from __future__ import annotations

import io

import pytest
from render_builders import ENVIRONMENT, candidate, decode, extend, failed, held, result, run_file, wrong
from rich.console import Console

from autotune_cli.render import baselines
from autotune_cli.render.run_totals import totals
from autotune_cli.render.summary import print_run
from autotune_cli.results.schema import BaselineResult, CandidateResult, RunFile, WorkloadResult

FLASHINFER = "sglang --attention-backend flashinfer"


def missing(name: str, reason: str) -> BaselineResult:
    return BaselineResult(name=name, engine=name.split()[0], missing=reason)


def three(batch: int = 1) -> WorkloadResult:
    """The default, another baseline that was measured, and a third that was not."""
    fast, slow = candidate("fast", 100.0), candidate("slow", 110.0, default=True)
    other = candidate("other", 150.0)
    others = (
        held(slow, speedup=1.1, speedup_interval=(1.09, 1.11)),
        held(other, FLASHINFER, backend="flashinfer", speedup=1.5, speedup_interval=(1.49, 1.51)),
        missing("vllm", "no candidate yet"),
    )
    return result(decode(batch), fast, slow, other, baselines=others)


def shown(run: RunFile, baseline: str | None = None, width: int = 150) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_run(console, run, baseline=baseline)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_head_says_what_the_speedups_are_over() -> None:
    assert baselines.lines([three()], None) == [
        "speed-up over sglang 0.5.23 (newest known): fa3",
        "also measured: sglang 0.5.23 --attention-backend flashinfer (newest known)",
        "missing: vllm: no candidate yet",
    ]


def test_a_kernel_in_the_place_of_the_engine_s_own_is_said() -> None:
    fast, slow = candidate("fast", 100.0), candidate("slow", 110.0)
    ours = held(slow, "sglang --attention-backend triton", stand_in="our Triton kernels")
    other = held(fast, stand_in=None)
    measured = result(None, fast, slow, baselines=(other, ours))
    assert baselines.lines([measured], None) == [
        "speed-up over sglang 0.5.23 (newest known): fa3",
        "also measured: sglang 0.5.23 --attention-backend triton (newest known) "
        "(in its kernels' place: our Triton kernels)",
    ]


def test_another_baseline_in_the_column_is_said_and_shown() -> None:
    run = run_file(three())
    first, other = shown(run), shown(run, FLASHINFER)
    assert "110.0" in first
    assert "1.100" in first
    assert "speed-up over sglang 0.5.23 --attention-backend flashinfer" in other
    assert "150.0" in other
    assert "1.500" in other
    assert "1.100" not in other


def test_each_baseline_has_a_mean_of_its_own() -> None:
    counted, default, other = totals([three(1), three(2)])
    assert counted.startswith("2 workloads, 6 candidates: 6 raced")
    assert default == "1.10x (1.10 .. 1.10) over sglang 0.5.23 (newest known): fa3"
    assert other == "1.50x (1.50 .. 1.50) over sglang 0.5.23 --attention-backend flashinfer (newest known)"


def test_a_mean_over_fewer_workloads_says_over_how_many() -> None:
    lines = totals([three(1), result(decode(2))])
    assert lines[2].endswith("flashinfer (newest known), 1 workload")


def test_without_a_measured_baseline_there_is_no_mean() -> None:
    assert len(totals([result(None, failed("a", "error"), winner=None)])) == 1


@pytest.mark.parametrize(
    ("default", "cell"),
    [
        (candidate("d", 171.3, default=True), "171.3"),
        (candidate("d", 171.3, default=True, status="eliminated"), "171.3"),
        (wrong("d", default=True), "wrong"),
        (failed("d", "unavailable", default=True), "missing"),
        (failed("d", "timeout", default=True), "timeout"),
        (candidate("d", 171.3), "-"),
    ],
)
def test_cell(default: CandidateResult, cell: str) -> None:
    assert baselines.cell(result(None, candidate("fast", 1.0), default), None) == cell


def test_a_baseline_without_a_candidate_is_missing() -> None:
    assert baselines.cell(three(), "vllm") == "missing"
    assert "speed-up over vllm (version not known)" in baselines.lines([three()], "vllm")


def test_an_older_file_says_that_it_does_not_know_the_version() -> None:
    slow = candidate("slow", 110.0, default=True)
    old = held(slow, FLASHINFER, version=None, version_from="not recorded", backend="flashinfer")
    lines = baselines.lines([result(None, candidate("fast", 100.0), slow, baselines=(old,), choice=None)], None)
    assert lines == ["speed-up over sglang --attention-backend flashinfer (version not recorded)"]


def test_each_device_has_a_table_of_its_own() -> None:
    """A cache may hold two cards' results: rows of both in one table would compare what can't be compared."""
    other = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
    run = run_file(three(1), result(decode(1), environment="f"), environments={"e": ENVIRONMENT, "f": other})
    text = shown(run)
    first, second = text.index("NVIDIA H200, driver"), text.index("NVIDIA H100 80GB HBM3, driver")
    assert first < second
    assert text.count("baseline us") == 2
    assert text[first:second].count("attention.decode") == text[second:].count("attention.decode") == 1


@pytest.mark.parametrize("width", [80, 100, 123])
def test_a_narrow_terminal_shows_every_figure_and_name_whole(width: int) -> None:
    label = "sgl_kernel.fa3 page 128 num splits 1 pack gqa off"
    fast = candidate("fast", 1256.0).model_copy(update={"label": label})
    geometry = extend().geometry.model_copy(update={"window_left": 127})
    layer = extend().model_copy(
        update={"geometry": geometry, "batch": 16, "new": 256, "context": 4096, "spread": "uneven"}
    )
    found = result(layer, fast, candidate("slow", 1305.0, default=True))
    lines = shown(run_file(found), width=width).splitlines()
    figures = next(line for line in lines if line.startswith("extend window 128"))
    for text in ("≤256+3840", "1256", "1305", "1.278 ± .003"):
        assert text in figures
    assert lines[lines.index(figures) + 1].strip() == f"eager: {label}"
    assert max(len(line) for line in lines) <= width
    assert "…" not in "".join(lines)


def test_a_baseline_that_concerns_no_workload_is_told() -> None:
    """An attention backend, of a suite of top-k: a column of dashes would not say why."""
    first, *rest = baselines.lines([three()], "sglang --page-size 64")
    assert first == "sglang --page-size 64: changes nothing of these workloads, so there is no such baseline"
    assert rest == baselines.lines([three()], None)


def test_a_baseline_that_duplicates_a_candidate_has_its_time() -> None:
    fast, slow = candidate("fast", 100.0), candidate("slow", 110.0, default=True)
    twin = failed("twin", "duplicate", "fires the same kernels", same_as="slow")
    found = result(
        None, fast, slow, twin, baselines=(held(slow), held(slow, FLASHINFER).model_copy(update={"candidate": "twin"}))
    )
    assert baselines.cell(found, FLASHINFER) == baselines.cell(found, None) == "110.0"


def test_a_version_stands_behind_the_engine_whose_variables_stand_before_it() -> None:
    name = "SGLANG_DSA_FUSE_TOPK=0 sglang --dsa-topk-backend torch"
    fast, slow = candidate("fast", 100.0), candidate("slow", 110.0, default=True)
    named = held(slow, name, backend="torch").model_copy(
        update={"engine": "sglang", "version": "0.5.23", "version_from": "installed"}
    )
    made = result(decode(), fast, slow, baselines=(held(slow), named))
    assert baselines.words([made], name) == "SGLANG_DSA_FUSE_TOPK=0 sglang 0.5.23 --dsa-topk-backend torch"
