"""Steps, their ratios and how well they are known."""

from __future__ import annotations

import math

import pytest
from planning_runs import candidate, result, rough, workload, wrong

from autotune_cli.planning.times import (
    FEW_ROUNDS,
    ROUGH_CPU,
    ROUGH_GPU,
    Time,
    Weighed,
    mean_of_ratios,
    ratio_of_steps,
    step_of,
    time_of,
)
from autotune_cli.results.schema import CandidateResult


def parts(*times: tuple[float, float, float, str]) -> list[Weighed]:
    return [Weighed(weight, name, Time(us, half)) for weight, us, half, name in times]


def test_a_step_is_the_sum_by_weight_and_its_error_adds_up_as_independent_ones() -> None:
    step = step_of(parts((2.0, 10.0, 0.3, "a"), (1.0, 5.0, 0.8, "b")))
    assert step.us == 25.0
    assert step.half == pytest.approx(1.0)


def test_a_ratio_has_both_sides_relative_errors() -> None:
    ratio = ratio_of_steps(parts((1.0, 30.0, 0.9, "a")), parts((1.0, 20.0, 0.8, "b")))
    assert ratio is not None
    assert ratio.value == 1.5
    assert math.log(ratio.high / ratio.value) == pytest.approx(0.05)  # the root of .03^2 + .04^2
    assert ratio.low * ratio.high == pytest.approx(ratio.value**2)


def test_what_both_steps_run_cancels() -> None:
    same = (1.0, 1000.0, 300.0, "same")
    ratio = ratio_of_steps(parts(same, (1.0, 11.0, 0.0, "a")), parts(same, (1.0, 10.0, 0.0, "b")))
    assert ratio is not None
    assert ratio.low > 1.0
    assert ratio_of_steps(parts(same), parts(same)) == (1.0, 1.0, 1.0)


def test_the_geometric_mean_is_by_weight() -> None:
    pairs = [
        (Weighed(3.0, "a", Time(2.0, 0.0)), Weighed(3.0, "b", Time(1.0, 0.0))),
        (Weighed(1.0, "a", Time(1.0, 0.0)), Weighed(1.0, "a", Time(1.0, 0.0))),
    ]
    mean = mean_of_ratios(pairs)
    assert mean is not None
    assert mean.value == pytest.approx(2.0**0.75)
    assert mean_of_ratios([]) is None


def test_how_well_a_time_is_known_depends_on_its_rounds() -> None:
    few = candidate("few", 100.0, rounds=(0,), rounds_us=(100.0,), interval_us=None, status="eliminated")
    twin = CandidateResult(key="twin", backend="twin", label="twin", status="duplicate", same_as="raced")
    of = workload("decode")
    found = result(of, candidate("raced", 100.0, 1.5), few, rough("rough", 100.0), wrong("wrong"), twin)
    by_key = {each.key: time_of(found, each, "cuda") for each in found.candidates}
    assert by_key == {
        "raced": Time(100.0, 1.5),
        "few": Time(100.0, 100.0 * FEW_ROUNDS),
        "rough": Time(100.0, 100.0 * ROUGH_GPU, True),
        "wrong": None,
        "twin": Time(100.0, 1.5),
    }
    assert time_of(found, found.candidate("rough"), "cpu") == Time(100.0, 100.0 * ROUGH_CPU, True)
    # Nine equal rounds are no exact time.
    lucky = result(of, candidate("lucky", 100.0))
    time = time_of(lucky, lucky.candidates[0], "cuda")
    assert time is not None
    assert time.half == pytest.approx(0.2)
