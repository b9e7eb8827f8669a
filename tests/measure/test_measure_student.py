from __future__ import annotations

import math

import pytest

from autotune_cli.measure import student


@pytest.mark.parametrize(
    ("t", "degrees", "p"), [(12.706, 1, 0.05), (2.228, 10, 0.05), (3.169, 10, 0.01), (1.96, 1e6, 0.05), (0.0, 5, 1.0)]
)
def test_p_values_are_those_of_the_tables(t: float, degrees: float, p: float) -> None:
    assert student.two_sided_p(t, degrees) == pytest.approx(p, rel=2e-3)
    assert student.two_sided_p(-t, degrees) == student.two_sided_p(t, degrees)


def test_p_values_and_quantiles_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (0.7, 1.0, 2.5, 4.0, 8.3, 20.0, 40.7, 300.0):
        for t in (1e-3, 0.3, 1.0, 2.0, 5.0, 30.0, 500.0):
            assert student.two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-8)
        for probability in (0.5, 0.9, 0.95, 0.999):
            expected = stats.t.ppf(0.5 + probability / 2, round(degrees, 1))
            assert student.quantile(probability, degrees) == pytest.approx(expected, rel=1e-7)


def test_impossible_numbers_are_refused() -> None:
    for t, degrees in ((1.0, 0.0), (math.nan, 3.0)):
        with pytest.raises(ValueError, match="degrees"):
            student.two_sided_p(t, degrees)
    with pytest.raises(ValueError, match="probability"):
        student.quantile(1.0, 3.0)
    assert student.two_sided_p(math.inf, 3.0) == 0.0
