from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_cli.measure.statistics import median
from autotune_cli.tuning.choose import choose
from autotune_cli.tuning.constraint import constraint_cost

MARGIN = 0.005


def times(us: float, count: int = 10) -> dict[int, float]:
    """Rounds around ``us`` with a fixed pattern of a tenth of a percent."""
    return {i: us * (1.0 + 0.001 * ((i * 7) % 5 - 2)) for i in range(count)}


def test_clear_winner() -> None:
    choice = choose(
        {"default": times(200.0), "a": times(100.0), "b": times(150.0)}, ["default", "a", "b"], "default", MARGIN
    )
    assert choice is not None
    assert (choice.winner, choice.best, choice.tie_set, choice.reason) == ("a", "a", ("a",), "separated")
    assert choice.speedup == pytest.approx(2.0)
    low, high = choice.speedup_interval or (0.0, 0.0)
    assert low < 2.0 < high < 2.01


def test_default_is_preferred_inside_the_tie_set() -> None:
    choice = choose({"default": times(100.3), "a": times(100.0)}, ["default", "a"], "default", MARGIN)
    assert choice is not None
    assert (choice.winner, choice.best) == ("default", "a")
    assert choice.speedup == 1.0
    assert set(choice.tie_set) == {"default", "a"}


def test_first_in_order_wins_a_tie_without_the_default() -> None:
    choice = choose(
        {"default": times(200.0), "a": times(100.2), "b": times(100.0)}, ["default", "a", "b"], "default", MARGIN
    )
    assert choice is not None
    assert (choice.winner, choice.reason) == ("a", "first of the tie set")


def test_missing_default_gives_no_speedup() -> None:
    choice = choose({"a": times(100.0)}, ["a"], None, MARGIN)
    assert choice is not None
    assert (choice.winner, choice.speedup, choice.default) == ("a", None, None)


def test_without_a_measured_candidate_there_is_no_choice() -> None:
    assert choose({}, ["a"], None, MARGIN) is None
    assert choose({"a": {}}, ["a"], "a", MARGIN) is None


def test_one_round_has_no_interval_so_the_default_stays() -> None:
    choice = choose({"default": {0: 200.0}, "a": {0: 100.0}}, ["default", "a"], "default", MARGIN)
    assert choice is not None
    assert (choice.winner, choice.best, set(choice.tie_set)) == ("default", "a", {"default", "a"})
    assert (choice.speedup, choice.speedup_interval) == (1.0, (1.0, 1.0))
    assert choice.reason == "too few rounds to tell: the default stays"


def test_without_a_default_one_round_is_judged_by_the_times_and_claims_nothing() -> None:
    choice = choose({"slow": {0: 8142.0}, "a": {0: 413.0}}, ["slow", "a"], None, MARGIN)
    assert choice is not None
    assert (choice.winner, choice.speedup, choice.speedup_interval) == ("a", None, None)


def test_two_rounds_that_disagree_leave_the_default() -> None:
    choice = choose({"default": {0: 200.0, 1: 160.0}, "a": {0: 100.0, 1: 130.0}}, ["default", "a"], "default", MARGIN)
    assert choice is not None
    assert (choice.winner, choice.speedup) == ("default", 1.0)


def test_the_luckiest_of_many_that_are_like_the_default_does_not_win() -> None:
    """A pair's interval misses in one case of a hundred: of hundreds of pairs some do."""
    winners: dict[int, set[str]] = {1: set(), 400: set()}
    for seed in range(10):
        generator = random.Random(seed)
        keys = [f"k{i}" for i in range(400)]
        table = {key: {n: 100.0 * math.exp(generator.gauss(0.0, 0.05)) for n in range(7)} for key in keys}
        for compared, found in winners.items():
            choice = choose(table, keys, "k0", MARGIN, compared=compared)
            assert choice is not None
            found.add(choice.winner)
    assert winners[400] == {"k0"}
    assert len(winners[1]) > 1


def test_a_true_gain_is_found_among_many() -> None:
    generator = random.Random(1)
    truth = {"default": 100.0} | {f"k{i}": 100.0 for i in range(1000)} | {"fast": 80.0}
    table = {key: {n: us * math.exp(generator.gauss(0.0, 0.01)) for n in range(9)} for key, us in truth.items()}
    choice = choose(table, list(table), "default", MARGIN, compared=len(table))
    assert choice is not None
    assert choice.winner == "fast"
    assert choice.speedup == pytest.approx(1.25, rel=0.02)


def test_a_tie_by_noise_alone_does_not_make_a_slower_one_than_the_default_the_winner() -> None:
    noisy = dict(enumerate([60.0, 150.0, 95.0, 160.0, 130.0, 80.0, 140.0, 125.0]))
    table = {"default": times(103.0, 8), "noisy": noisy, "a": times(100.0, 8)}
    choice = choose(table, list(table), "default", MARGIN)
    assert choice is not None
    assert choice.tie_set == ("noisy", "a")
    assert choice.winner == "a"


def test_a_tie_that_beats_the_default_by_luck_alone_does_not_win() -> None:
    """Out of 400 candidates one so noisy is ahead of the default by chance; raced alone with it, it would be chosen."""
    noisy = dict(enumerate([94.0, 104.0, 97.0, 100.0, 105.0, 95.0, 98.0, 101.0, 96.0, 99.0]))
    table = {"default": times(105.0), "noisy": noisy, "a": times(98.0)}
    for compared, winner in ((1, "noisy"), (400, "a")):
        choice = choose(table, list(table), "default", MARGIN, compared=compared)
        assert choice is not None
        assert (choice.tie_set, choice.winner) == (("noisy", "a"), winner)


ROUNDS = st.lists(st.floats(50.0, 150.0), min_size=1, max_size=8).map(lambda values: dict(enumerate(values)))


@given(st.lists(ROUNDS, min_size=2, max_size=6), st.booleans())
def test_never_slower_than_the_default_and_always_tied_with_the_best(
    rounds: list[dict[int, float]], has_default: bool
) -> None:
    table = {f"k{i}": values for i, values in enumerate(rounds)}
    default = "k0" if has_default else None
    choice = choose(table, list(table), default, MARGIN)
    assert choice is not None
    assert choice.winner in choice.tie_set
    assert choice.best in choice.tie_set
    assert all(median(list(table[choice.best].values())) <= median(list(values.values())) for values in table.values())
    if default is not None and choice.winner != default:
        assert median(list(table[choice.winner].values())) <= median(list(table[default].values()))
        assert default not in choice.tie_set


@given(st.lists(ROUNDS, min_size=2, max_size=6), st.floats(0.01, 100.0))
def test_choice_does_not_depend_on_the_unit(rounds: list[dict[int, float]], scale: float) -> None:
    def chosen(factor: float) -> str:
        table = {f"k{i}": {n: factor * us for n, us in values.items()} for i, values in enumerate(rounds)}
        choice = choose(table, list(table), "k0", MARGIN)
        assert choice is not None
        return choice.winner

    # Powers of two: exact in floating point, so that ties at the margin stay ties.
    assert chosen(1.0) == chosen(2.0 ** round(scale % 10))


def test_a_tie_with_the_default_does_not_hide_that_another_baseline_is_faster() -> None:
    """Within the margin, and yet beyond the interval: the winner must be slower than no baseline."""
    table = {"default": times(100.4), "other": times(100.0), "a": times(100.2)}
    choice = choose(table, list(table), "default", 0.01, held=("default", "other"))
    assert choice is not None
    assert (choice.winner, set(choice.tie_set)) == ("other", {"default", "other", "a"})
    # Without that baseline the default is preferred within the ties.
    alone = choose(table, list(table), "default", 0.01, held=("default",))
    assert alone is not None
    assert alone.winner == "default"


def test_one_that_may_not_win_is_still_what_a_speedup_is_over() -> None:
    raced = {"default": times(100.0), "a": times(200.0), "b": times(50.0)}
    choice = choose(raced, ["default", "a", "b"], "default", MARGIN, barred=("default", "b"))
    assert choice is not None
    assert (choice.winner, choice.best, choice.tie_set) == ("a", "a", ("a",))
    assert (choice.default, choice.speedup) == ("default", pytest.approx(0.5))
    assert choose(raced, ["default", "a", "b"], "default", MARGIN, barred=("default", "a", "b")) is None


def test_what_a_constraint_costs() -> None:
    raced = {"a": times(200.0), "b": times(50.0), "c": times(150.0), "d": {}}
    cost = constraint_cost("a", raced, barred=("b", "d"))
    assert cost is not None
    assert (cost.best, cost.without, cost.ratio) == ("a", "b", pytest.approx(4.0))
    low, high = cost.interval or (0.0, 0.0)
    assert low < 4.0 < high < 4.1
    # Slower ones that may not win cost nothing to do without, and others that may are no price.
    free = constraint_cost("b", raced, barred=("a",))
    assert free is not None
    assert (free.without, free.ratio, free.interval) == ("b", 1.0, (1.0, 1.0))
    assert constraint_cost("a", {"a": {0: 2.0}, "b": {1: 1.0}}, barred=("b",)) is None
    once = constraint_cost("a", {"a": {0: 2.0}, "b": {0: 1.0}}, barred=("b",))
    assert once is not None
    assert (once.ratio, once.interval) == (pytest.approx(2.0), None)
