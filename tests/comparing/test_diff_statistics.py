from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_cli.comparing.means import LogRatio, log_mean
from autotune_cli.comparing.statistics import (
    SESSION_SPREAD,
    difference,
    estimate,
    holm,
    round_variance,
    session_scale,
    session_variance,
    typical_spread,
)


def test_no_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="no sessions"):
        estimate([], [])


def test_holm_is_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0.0, 1.0), max_size=20))
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(before <= after <= 1.0 for before, after in zip(p_values, adjusted, strict=True))
    ordered = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert ordered == sorted(ordered)


def test_one_session_is_never_known_better_than_sessions_repeat() -> None:
    one = estimate([[100.0] * 1000], [0.001])
    assert math.sqrt(one.variance) >= SESSION_SPREAD
    assert one.us == pytest.approx(100.0)
    assert (one.sessions, one.rounds) == (1, 1000)


def test_more_sessions_narrow_and_apart_ones_widen() -> None:
    alike = estimate([[100.0] * 5] * 4, [0.001] * 4)
    assert alike.variance < estimate([[100.0] * 5], [0.001]).variance / 3
    apart = estimate([[100.0] * 5, [102.0] * 5, [98.0] * 5, [101.0] * 5], [0.001] * 4)
    assert apart.variance > 4 * alike.variance


def test_a_side_whose_sessions_scatter_is_believed() -> None:
    quiet = ([[100.0] * 5, [100.01] * 5], [0.001, 0.001])
    wild = ([[100.0] * 5, [103.0] * 5], [0.001, 0.001])
    assert session_scale([quiet]) == 1.0
    assert session_scale([wild, quiet]) > 5
    assert session_scale([([[100.0]], [0.001])]) == 1.0


def test_few_rounds_borrow_their_neighbours_spread() -> None:
    assert round_variance([100.0], 0.02)[0] == pytest.approx(0.02**2)
    assert round_variance([100.0, 100.0], 0.02)[0] > round_variance([100.0, 100.0], 0.002)[0]
    assert typical_spread([]) > typical_spread([0.001, 0.002])


def test_rounds_that_hang_together_count_less() -> None:
    drifting = [100.0 + i for i in range(10)]
    shuffled = [100.0, 109.0, 102.0, 107.0, 104.0, 105.0, 106.0, 103.0, 108.0, 101.0]
    assert round_variance(drifting, 0.03)[0] > 1.5 * round_variance(shuffled, 0.03)[0]


def test_short_kernels_differ_more_between_sessions() -> None:
    assert session_variance(5.0, 0.001) > session_variance(500.0, 0.001)
    assert session_variance(500.0, 0.1) > session_variance(500.0, 0.001)


def test_early_losers_differ_more_between_sessions() -> None:
    assert session_variance(500.0, 0.001, rounds=2) > 4 * session_variance(500.0, 0.001, rounds=3)
    assert estimate([[100.0] * 2], [0.001]).variance > 4 * estimate([[100.0] * 3], [0.001]).variance


def test_intervals_cover_what_they_say() -> None:
    """Simulated from the model itself: 95 % intervals hold the truth in 95 % of the cases."""
    generator = random.Random(5)
    for sessions in (1, 3):
        inside = 0
        for _ in range(600):
            sides = []
            for _side in range(2):
                times = []
                for _session in range(sessions):
                    effect = generator.gauss(0.0, SESSION_SPREAD)
                    times.append([200 * math.exp(effect + generator.gauss(0, 0.002)) for _ in range(10)])
                sides.append(estimate(times, [0.002] * sessions))
            found = difference(sides[0], sides[1], 0.95)
            inside += found.low <= 0.0 <= found.high
        assert 0.92 <= inside / 600 <= 0.995


def test_the_mean_takes_the_workload_as_the_unit() -> None:
    rows = [LogRatio("a", 0.1, 0.0)] * 50 + [LogRatio("b", -0.1, 0.0)]
    mean = log_mean(rows, 0.95)
    assert mean is not None
    assert mean[0] == pytest.approx(0.0)
    assert mean[2] > 0.5  # two workloads that disagree say next to nothing
    assert log_mean([], 0.95) is None
    assert log_mean([LogRatio("a", 0.02, 0.01)], 0.95) == pytest.approx((0.02, 0.01, 0.03))
