"""``tune --require``: only kernels win that are shown to obey, and the file and the table tell what that costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import TINY, Autotune, Finished

from autotune_cli.results.schema import MEASURED, WorkloadResult

LOOSE = Path(__file__).with_name("loose_kernels.py")
ASKED = ("--no-cache", "--kernels", LOOSE, "--backend", "loose,torch", "--scores", "tie_free,equal")
REQUIRE = ("--require", "tie-break=small", "--require", "deterministic,batch-invariant")


@pytest.fixture(scope="module")
def finished(shared: Callable[[], Autotune]) -> Finished:
    return shared().tune(*TINY, *ASKED, *REQUIRE)


@pytest.fixture(scope="module")
def result(finished: Finished) -> WorkloadResult:
    (result,) = finished.run.workloads
    return result


def test_only_one_that_keeps_all_wins(result: WorkloadResult) -> None:
    assert result.required == ("deterministic", "batch-invariant", "tie-break=small")
    assert result.choice is not None
    assert (result.choice.winner, result.choice.tie_set) == ("loose.keeps_all", ("loose.keeps_all",))
    assert result.identity["required"] == "deterministic; batch-invariant; tie-break=small"
    for candidate in result.candidates:
        assert candidate.status in MEASURED
        assert [verdict.name for verdict in candidate.properties] == list(result.required)
        assert bool(candidate.broken) == (candidate.key != "loose.keeps_all")


def test_the_price_is_over_the_fastest_that_is_right(finished: Finished, result: WorkloadResult) -> None:
    cost = result.constraint
    assert cost is not None
    raced = {each.key: each.median_us for each in result.candidates if each.median_us is not None}
    assert (cost.best, cost.without) == ("loose.keeps_all", min(raced, key=lambda key: raced[key]))
    (workload,) = finished.summary["workloads"]  # type: ignore[misc]
    assert workload["constraint"]["ratio"] == cost.ratio  # type: ignore[index]
    # The default is measured however it orders ties, and speed-ups are over it.
    (default,) = (each for each in result.candidates if each.default)
    assert default.broken
    assert result.baselines[0].speedup is not None


def test_the_table_tells_it(finished: Finished, usage: Callable[..., Finished]) -> None:
    shown = " ".join(usage("show", finished.path, "--all").out.split())
    assert "deterministic, batch-invariant, tie-break=small costs" in shown
    assert "not batch-invariant: request 0 alone and in a batch of 2 differed in 1 of 1 rows (on tie_free)" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--op", "decode", "--require", "tie-break=large"), "--require: attention.decode can't be shown to be tie-br"),
        (("--op", "topk", "--require", "tie-break=small,tie-break=large"), "--require: of equal scores"),
        (("--require", "reproducible"), "unknown requirement 'reproducible'"),
    ],
)
def test_refusals(usage: Callable[..., Finished], options: tuple[str, ...], message: str) -> None:
    refused = usage("tune", "--device", "cpu", *options)
    assert refused.code == 2
    assert message in refused.err
