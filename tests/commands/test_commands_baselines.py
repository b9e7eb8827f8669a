"""``--engine`` and ``--baseline``, of tune and show."""

from __future__ import annotations

import pytest
from running import TINY, Autotune

KEY = "torch.topk(sorted=false)"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--engine", "sglan"], "unknown engine 'sglan'; did you mean 'sglang'"),
        (["--baseline", "sglang --attention-backend fa5"], "did you mean 'fa4'"),
        (["--baseline", "tensorrt"], "unknown engine 'tensorrt'"),
        (["--baseline", "sglang --page-size"], "--page-size: needs a value"),
        (["--baseline", " "], "names no engine"),
    ],
)
def test_a_name_that_is_none_is_one_line(autotune: Autotune, options: list[str], says: str) -> None:
    done = autotune("tune", "--device", "cpu", *TINY, *options, code=2)
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_candidate_named_as_baseline_is_measured_and_kept(autotune: Autotune) -> None:
    done = autotune.tune(*TINY, "--no-cache", "--baseline", KEY)
    (result,) = done.run.workloads
    assert [baseline.name for baseline in result.baselines] == ["sglang", KEY]
    assert "can't be measured" not in done.err
    assert result.choice is not None
    assert result.choice.over == "sglang"
    named = result.baseline(KEY)
    assert named is not None
    assert named.candidate == KEY
    assert named.speedup is not None
    assert result.candidate(KEY).rounds_us  # measured to the end, however slow
    assert {entry["over"] for entry in done.summary["speedups"]} == {"sglang", KEY}  # type: ignore[attr-defined]
    shown = autotune("show", done.path, "--baseline", KEY, code=0)
    assert f"speed-up over {KEY}" in shown.out
    refused = autotune("show", done.path, "--baseline", "vllm", code=2)
    assert "unknown baseline of this file 'vllm'" in refused.err


def test_an_engine_whose_kernel_is_missing_leaves_its_place_empty(autotune: Autotune) -> None:
    done = autotune.tune(*TINY, "--no-cache", "--engine", "vllm")
    (result,) = done.run.workloads
    (baseline,) = result.baselines
    assert baseline.candidate is None
    assert "no candidate yet" in (baseline.missing or "")
    assert result.choice is not None
    assert (result.choice.default, result.choice.over, result.choice.speedup) == (None, None, None)
    # Told before the run, which may take minutes, and in the table.
    assert f"note: vllm can't be measured: {baseline.missing}" in done.err
    table = autotune("show", done.path, code=0).out
    assert "missing: vllm" in table
    assert "missing" in table.split("topk.select")[1]


def test_a_named_baseline_that_is_no_candidate_is_told_before_the_run(autotune: Autotune) -> None:
    done = autotune.tune(*TINY, "--no-cache", "--baseline", "mine.kernel")
    note, first = (done.err.index(text) for text in ("note: mine.kernel can't be measured: mine.kernel is no", "[1/1]"))
    assert note < first
    assert "missing: mine.kernel" in autotune("show", done.path, code=0).out


def test_another_baseline_is_a_miss_that_says_so(autotune: Autotune) -> None:
    autotune.tune(*TINY, "--cache")
    again = autotune.tune(*TINY, "--cache", "--baseline", KEY)
    assert f"baseline {KEY} not measured -> {KEY}" in again.err
    assert "speedups" in again.summary


def test_baselines_stay_whatever_backends_are_asked_for(autotune: Autotune) -> None:
    done = autotune.tune(*TINY, "--no-cache", "--backend", "sgl_kernel", "--baseline", KEY)
    (result,) = done.run.workloads
    assert {candidate.backend for candidate in result.candidates} == {"sgl_kernel.fast_topk_v2", "torch.topk"}
    assert all(baseline.speedup is not None for baseline in result.baselines)
