"""What one choice for several lengths loses at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.measure.lengths import at_lengths
from autotune_cli.measure.statistics import median
from autotune_cli.results.schema import CandidateResult, Choice, WorkloadResult

POINTS = (LengthPoint(context=1024), LengthPoint(context=8192, weight=3))
WORKLOAD = AttentionWorkload(
    operation="attention.decode",
    geometry=Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128),
    batch=8,
    context=8192,
    mode="graph",
    points=POINTS,
)
# Rounds that differ as those of a GPU do.
STEADY = (1.0, 1.001, 0.999, 1.0005, 0.9995)


def candidate(key: str, us: Sequence[float], factors: Sequence[float] = STEADY, **changes: Any) -> CandidateResult:
    rounds = [tuple(each * factor for each in us) for factor in factors]
    means = [(short + 3 * long) / 4 for short, long in rounds]
    fields: dict[str, Any] = {"key": key, "backend": key, "label": key, "status": "ok", "median_us": median(means)}
    fields |= {"rounds": tuple(range(len(means))), "rounds_us": tuple(means), "points_us": tuple(rounds)}
    return CandidateResult(**(fields | changes))


def result(*candidates: CandidateResult, winner: str = "even", **changes: Any) -> WorkloadResult:
    choice = Choice(winner=winner, tie_set=(winner,), best=winner, default=None, reason="separated")
    fields: dict[str, Any] = {"workload": WORKLOAD, "key": WORKLOAD.key, "environment": "e", "identity": {}}
    fields |= {"candidates": candidates, "choice": choice, "measured_at": "2026-11-21T09:30:12Z"}
    return WorkloadResult(**(fields | changes))


def test_what_a_choice_made_at_one_length_loses_at_the_others() -> None:
    """The choice is 20 % off at the short length; what is best there loses 45 % over all, and 50 % at the long one."""
    made = result(candidate("even", (12.0, 40.0)), candidate("short", (10.0, 60.0)))
    short, long = at_lengths(made)
    assert (short.context, short.share, short.best.key) == (1024, 0.25, "short")
    assert (short.choice_us, short.best_us, short.loss) == pytest.approx((12.0, 10.0, 0.2))
    assert short.best_over_all == pytest.approx((10 + 180) / (12 + 120) - 1)
    assert short.best_at_worst == pytest.approx(0.5)
    assert (long.context, long.share, long.best.key, long.loss, long.best_over_all) == (8192, 0.75, "even", 0.0, 0.0)
    assert long.best_at_worst == pytest.approx(0.2)


def test_what_is_not_certainly_faster_is_not_called_the_best() -> None:
    noisy = candidate("lucky", (11.9, 41.0), factors=(1.0, 1.2, 0.8, 1.1, 0.9))
    short, _ = at_lengths(result(candidate("even", (12.0, 40.0)), noisy))
    assert (short.best.key, short.loss) == ("even", 0.0)
    # One round tells nothing.
    single = candidate("short", (10.0, 60.0), factors=(1.0,), status="eliminated", reason="slow")
    assert at_lengths(result(candidate("even", (12.0, 40.0)), single))[0].best.key == "even"


def test_only_candidates_that_were_measured_there_count() -> None:
    unknown = candidate("unknown", (1.0, 1.0), points_us=())
    bad = candidate("bad", (1.0, 1.0), status="incorrect", reason="wrong")
    assert {each.best.key for each in at_lengths(result(candidate("even", (12.0, 40.0)), unknown, bad))} == {"even"}
    assert at_lengths(result(unknown, winner="unknown")) == ()
    assert at_lengths(result(candidate("even", (12.0, 40.0)), choice=None)) == ()
    alone = WORKLOAD.model_copy(update={"points": ()})
    plain = candidate("even", (12.0, 40.0), points_us=())
    assert at_lengths(result(plain, workload=alone, key=alone.key)) == ()


def test_times_for_other_lengths_than_the_workload_has_are_no_result() -> None:
    alone = WORKLOAD.model_copy(update={"points": ()})
    with pytest.raises(ValueError, match="2 times for 0 lengths"):
        result(candidate("even", (12.0, 40.0)), workload=alone, key=alone.key)
    with pytest.raises(ValueError, match="1 times for 2 lengths"):
        result(candidate("even", (12.0, 40.0), rough_points_us=(1.0,)))
    with pytest.raises(ValueError, match="5 rounds for 1 of its lengths"):
        candidate("even", (12.0, 40.0), points_us=((12.0, 40.0),))
