"""What a baseline comes to after the race."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.results.schema import BaselineResult, CandidateResult
from autotune_cli.tuning.baselines import judged

BASELINE = BaselineResult(name="sglang", engine="sglang", candidate="base")
TIMES = {"base": dict.fromkeys(range(9), 110.0), "best": dict.fromkeys(range(9), 100.0)}


def results(**base: Any) -> dict[str, CandidateResult]:
    made = {"key": "base", "backend": "b", "label": "b", "status": "ok"} | base
    best = CandidateResult(key="best", backend="b", label="b", status="ok")
    return {"base": CandidateResult(**made), "best": best}


def test_the_winner_gains_over_it() -> None:
    found = judged(BASELINE, "best", results(), TIMES)
    assert found.speedup == pytest.approx(1.1)
    assert found.missing is None
    assert judged(BASELINE, "base", results(), TIMES).speedup == 1.0


@pytest.mark.parametrize("status", ["incorrect", "crashed", "timeout", "skipped"])
def test_one_that_was_not_right_is_missing_with_its_reason(status: str) -> None:
    found = judged(BASELINE, "best", results(status=status, reason="why"), TIMES)
    assert (found.missing, found.speedup, found.candidate) == (f"{status}: why", None, "base")


def test_one_that_was_missing_before_stays_so() -> None:
    missing = BaselineResult(name="vllm", engine="vllm", missing="no candidate yet")
    assert judged(missing, "best", results(), TIMES) == missing


def test_one_that_launches_what_another_does_has_its_times() -> None:
    twin = results(status="duplicate", reason="same kernels", same_as="best")
    assert judged(BASELINE, "best", twin, {"best": TIMES["best"]}).speedup == 1.0


def test_without_a_winner_nothing_is_gained() -> None:
    assert judged(BASELINE, None, results(), TIMES).speedup is None
