from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autotune_cli.measure.statistics import (
    SMALLEST_SPREAD,
    expected_ratio,
    geometric_mean,
    median,
    median_interval,
    paired_ratio,
    percentile,
    t99,
)

TIMES = st.floats(0.1, 1e6)
ROUNDS = st.dictionaries(st.integers(0, 40), TIMES, min_size=2, max_size=20)
PAIRS = st.lists(st.tuples(TIMES, TIMES), min_size=2, max_size=20)


def split(pairs: list[tuple[float, float]]) -> tuple[dict[int, float], dict[int, float]]:
    return {i: a for i, (a, _) in enumerate(pairs)}, {i: b for i, (_, b) in enumerate(pairs)}


@pytest.mark.parametrize("degrees", range(1, 31))
def test_t_table_is_students(degrees: int) -> None:
    assert t99(degrees) == pytest.approx(stats.t.ppf(0.995, degrees), abs=1e-3)


def test_t_beyond_the_table() -> None:
    assert t99(0) == math.inf
    assert t99(31) == pytest.approx(stats.norm.ppf(0.995), abs=1e-3)


def test_median_known_values() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    with pytest.raises(ValueError, match="no values"):
        median([])


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, 0, 0), (2, 0, 1), (5, 0, 4), (6, 0, 5), (8, 0, 7), (9, 1, 7), (10, 1, 8), (20, 5, 14)],
)
def test_median_interval_is_the_narrowest_pair_of_order_statistics_at_95_percent(
    count: int, low: int, high: int
) -> None:
    values = [float(i) for i in range(count)]
    random.Random(0).shuffle(values)
    assert median_interval(values) == (low, high)
    if count >= 6:
        assert 1 - 2 * stats.binom.cdf(low, count, 0.5) >= 0.95
        assert 1 - 2 * stats.binom.cdf(low + 1, count, 0.5) < 0.95


@given(st.lists(TIMES, min_size=1, max_size=30))
def test_median_interval_holds_the_median(values: list[float]) -> None:
    low, high = median_interval(values)
    assert low <= median(values) <= high


@given(PAIRS, st.floats(1e-3, 1e3))
def test_ratio_does_not_depend_on_the_unit(pairs: list[tuple[float, float]], scale: float) -> None:
    times, base = split(pairs)
    plain = paired_ratio(times, base)
    scaled = paired_ratio({i: scale * t for i, t in times.items()}, {i: scale * t for i, t in base.items()})
    assert plain is not None
    assert scaled is not None
    assert [math.log(value) for value in scaled if 0 < value < math.inf] == pytest.approx(
        [math.log(value) for value in plain if 0 < value < math.inf], abs=1e-6
    )


@given(PAIRS)
def test_ratio_is_symmetric(pairs: list[tuple[float, float]]) -> None:
    """Exchanging the two gives the reciprocal, and the interval's ends change places."""
    times, base = split(pairs)
    there, back = paired_ratio(times, base), paired_ratio(base, times)
    assert there is not None
    assert back is not None
    assert math.log(back.value) == pytest.approx(-math.log(there.value), abs=1e-6)
    if there.low > 1e-300 and there.high < 1e300:
        assert math.log(back.low) == pytest.approx(-math.log(there.high), abs=1e-6)


def test_an_interval_to_come_is_that_of_as_many_rounds_with_the_same_spread() -> None:
    few = {i: 10.0 * math.exp(0.01 * (-1) ** i) for i in range(8)}
    many = {i: 10.0 * math.exp(0.01 * (-1) ** i) for i in range(16)}
    now, then = (paired_ratio(times, dict.fromkeys(times, 9.0)) for times in (few, many))
    assert now is not None
    assert then is not None
    # A standard deviation over 8 is not quite that over 16.
    assert expected_ratio(now, 8, 16) == pytest.approx(then, rel=5e-4)
    assert expected_ratio(now, 8, 8) == pytest.approx(now)
    assert expected_ratio(now, 8, 16).low > now.low


@given(ROUNDS)
def test_ratio_to_itself_is_one_with_the_smallest_interval(times: dict[int, float]) -> None:
    ratio = paired_ratio(times, times)
    assert ratio is not None
    half = t99(len(times) - 1) * SMALLEST_SPREAD / math.sqrt(len(times))
    assert ratio == pytest.approx((1.0, math.exp(-half), math.exp(half)))


def test_ratio_uses_common_rounds_only() -> None:
    ratio = paired_ratio({0: 2.0, 1: 4.0, 2: 1000.0}, {0: 1.0, 1: 2.0, 7: 1.0})
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0)
    assert paired_ratio({0: 1.0}, {1: 1.0}) is None


def test_one_common_round_says_nothing_of_the_spread() -> None:
    assert paired_ratio({3: 2.0}, {3: 1.0}) == pytest.approx((2.0, 0.0, math.inf))


def test_pairing_removes_what_changes_between_rounds() -> None:
    """A clock that falls by half from round to round moves both times alike."""
    clock = {i: 2.0**i for i in range(8)}
    ratio = paired_ratio({i: 1.1 * us for i, us in clock.items()}, clock)
    assert ratio is not None
    assert ratio.high - ratio.low < 0.005
    assert ratio.value == pytest.approx(1.1)


def test_interval_covers_the_truth_at_99_percent() -> None:
    generator = random.Random(1)
    missed = 0
    for _ in range(1000):
        times = {i: 1.05 * math.exp(generator.gauss(0, 0.01)) for i in range(10)}
        base = {i: math.exp(generator.gauss(0, 0.01)) for i in range(10)}
        ratio = paired_ratio(times, base)
        assert ratio is not None
        missed += not ratio.low <= 1.05 <= ratio.high
    # Centred on the median, which is a quarter less precise than the mean: a little below 99 %.
    assert missed <= 50


def test_geometric_mean() -> None:
    mean = geometric_mean([1.0, 4.0])
    assert mean is not None
    assert mean.value == pytest.approx(2.0)
    assert mean.low <= 2.0 <= mean.high
    assert geometric_mean([]) is None
    assert geometric_mean([1.5]) == pytest.approx((1.5, 1.5, 1.5))


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30))
def test_geometric_mean_is_inside_its_interval_and_repeats(ratios: list[float]) -> None:
    mean = geometric_mean(ratios)
    assert mean is not None
    assert min(ratios) * (1 - 1e-9) <= mean.low <= mean.high <= max(ratios) * (1 + 1e-9)
    assert mean == geometric_mean(ratios)


def test_percentile() -> None:
    assert percentile([], 95.0) is None
    assert percentile([1.0, 3.0], 50.0) == 2.0
