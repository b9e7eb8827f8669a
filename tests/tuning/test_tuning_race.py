"""The race on made-up kernels whose true times are known."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from autotune_cli.measure.statistics import median
from autotune_cli.tuning.choose import choose
from autotune_cli.tuning.pace import Pace
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.race import Race, usual_clock

POLICY = RacePolicy()
NO_HEATS = replace(POLICY, heats=0)


def run(
    truth: dict[str, float],
    spread: float = 0.002,
    seed: int = 0,
    default: str | None = None,
    policy: RacePolicy = POLICY,
    held: frozenset[str] = frozenset(),
    barred: Mapping[str, str] | None = None,
    kept: frozenset[str] = frozenset(),
) -> tuple[Race, int]:
    """Race kernels of these true times; the race, and how many measurements it took."""
    generator = random.Random(seed)

    def measured(key: str) -> float:
        return truth[key] * math.exp(generator.gauss(0.0, spread))

    race = Race(policy, list(truth), default, held, kept, barred or {})
    race.cut_rough({key: measured(key) for key in truth})
    number = taken = 0
    while race.finished() is None:
        assert number < 100
        # All of a round share its clock.
        clock = math.exp(generator.gauss(0.0, 0.02))
        anchor = race.anchor
        assert anchor is not None
        times = {key: clock * measured(key) for key in race.order(number)}
        taken += len(times) + 1
        race.add(number, times, clock * measured(anchor))
        number += 1
    return race, taken


def winner(race: Race) -> str:
    choice = choose(
        {key: race.times[key] for key in race.running},
        race.running,
        race.default,
        max(POLICY.tie_margin, race.noise or 0),
    )
    assert choice is not None
    return choice.winner


def field(seed: int) -> dict[str, float]:
    """Forty candidates from 1 to 3 times the best one's time, many of them close to it."""
    generator = random.Random(seed)
    return {f"k{i}": 50.0 * (1.0 + 2.0 * generator.random() ** 2) for i in range(40)}


def test_regret_is_within_the_tie_margin_and_the_cost_a_quarter_of_exhaustive() -> None:
    regrets, costs = [], []
    for seed in range(40):
        truth = field(seed)
        race, taken = run(truth, seed=seed)
        regrets.append(truth[winner(race)] / min(truth.values()) - 1.0)
        _, all_of_it = run(truth, seed=seed, policy=RacePolicy(exhaustive=True))
        costs.append(taken / all_of_it)
    assert max(regrets) <= 0.02
    assert sum(regrets) / len(regrets) <= 0.005
    assert sum(costs) / len(costs) <= 0.25


def test_winner_repeats_or_is_tied() -> None:
    for seed in range(20):
        truth = field(seed)
        first, second = (winner(run(truth, seed=100 * seed + again)[0]) for again in range(2))
        assert abs(truth[first] / truth[second] - 1.0) < 2 * POLICY.tie_margin


def test_default_is_measured_to_the_end_however_slow() -> None:
    race, _ = run({"default": 900.0, "a": 10.0, "b": 10.02}, default="default")
    assert "default" not in race.dropped
    assert len(race.times["default"]) == max(len(times) for times in race.times.values())


def test_exhaustive_drops_no_candidate() -> None:
    race, _ = run({"a": 10.0, "b": 11.0, "c": 100.0}, policy=RacePolicy(exhaustive=True))
    assert not race.dropped
    assert {len(times) for times in race.times.values()} == {POLICY.rounds}


WHY = {"fast": "not deterministic", "faster": "not deterministic"}


def test_those_that_may_not_win_put_no_other_out() -> None:
    truth = {"fast": 5.0, "faster": 4.0, "a": 10.0, "b": 10.02}
    race, _ = run(truth, barred=WHY, kept=frozenset({"faster"}))
    assert race.best in ("a", "b")
    assert race.best_us == pytest.approx(10.0, rel=0.1)
    assert race.dropped == {"fast": "not deterministic"}
    # The other one is raced to the end, for what it costs to do without it.
    assert len(race.times["faster"]) == len(race.times["a"])
    assert not race.overlooked("a")
    # A candidate that turns out wrong brings none of them back.
    race.fail("b", "wrong after the race")
    assert set(race.dropped) == {"b", "fast"}


def test_only_those_that_may_not_win_are_no_race() -> None:
    race = Race(POLICY, ["fast", "faster"], barred=WHY, kept=frozenset({"fast"}))
    race.cut_rough({"fast": 5.0, "faster": 4.0})
    assert race.finished() == "none left"
    assert race.best is None


def test_alone_among_those_that_may_win_it_ends_early() -> None:
    race, _ = run({"fast": 9.9, "a": 10.0}, barred=WHY, kept=frozenset({"fast"}))
    assert race.finished() == "separated"


def test_far_behind_in_the_vetting_is_not_raced() -> None:
    race, _ = run({"a": 10.0, "b": 30.0})
    assert race.times["b"] == {}
    assert "rough time" in race.dropped["b"]


def test_one_candidate_ends_early_and_two_equal_ones_at_the_number_of_rounds() -> None:
    alone, _ = run({"a": 10.0})
    assert alone.finished() == "separated"
    assert len(alone.times["a"]) == POLICY.separated_rounds
    tied, _ = run({"a": 10.0, "b": 10.0})
    assert tied.finished() == "precise"
    assert len(tied.times["a"]) >= POLICY.rounds


def test_more_rounds_are_made_where_they_decide() -> None:
    race, _ = run({"a": 10.0, "b": 10.0}, spread=0.006)
    assert race.finished() == "precise"
    assert POLICY.rounds < len(race.times["a"]) <= POLICY.most_rounds


def test_no_more_rounds_where_none_of_them_would_decide_unless_all_are_asked_for() -> None:
    race, _ = run({"a": 10.0, "b": 10.0}, spread=0.03)
    assert (race.finished(), len(race.times["a"])) == ("rounds", POLICY.rounds)
    race, _ = run({"a": 10.0, "b": 10.0}, spread=0.03, policy=replace(POLICY, exhaustive=True))
    assert (race.finished(), len(race.times["a"])) == ("rounds", POLICY.most_rounds)


def test_rounds_go_on_while_they_may_show_that_the_default_is_beaten() -> None:
    """Two equal ones that no round tells apart are no reason to stay with a default that is 3 % slower."""
    truth, default = {"d": 10.3, "b": 10.0, "c": 10.0}, "d"
    lengths, kept = [], 0
    for seed in range(40):
        race, _ = run(truth, spread=0.012, seed=seed, default=default, policy=NO_HEATS)
        lengths.append(len(race.times["d"]))
        kept += winner(race) == "d"
    longest = replace(NO_HEATS, rounds=POLICY.most_rounds)
    kept_by_all = sum(winner(run(truth, 0.012, seed, default, longest)[0]) == "d" for seed in range(40))
    assert kept <= kept_by_all + 2
    assert min(lengths) == POLICY.rounds < max(lengths)


def test_a_rival_that_is_clearly_slower_is_no_reason_for_more_rounds() -> None:
    race, _ = run({"a": 10.0, "b": 14.0}, spread=0.012, held=frozenset({"b"}))
    assert (race.finished(), len(race.times["b"])) == ("precise", POLICY.rounds)


def test_first_places_and_neighbours_change_from_round_to_round() -> None:
    """A rotation would leave each candidate behind the same neighbour, which may heat the GPU or cap its power."""
    race = Race(POLICY, ["a", "b", "c", "d"])
    orders = [race.order(number) for number in range(200)]
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in orders)
    assert orders == [race.order(number) for number in range(200)]
    for key in "abcd":
        assert 30 <= sum(order[0] == key for order in orders) <= 70
        before = [order[order.index(key) - 1] for order in orders if order[0] != key]
        assert all(before.count(other) >= 30 for other in "abcd" if other != key)
    race.drop("b", "slow")
    assert sorted(race.order(3)) == ["a", "c", "d"]


def test_noise_is_the_distance_of_two_copies() -> None:
    race = Race(POLICY, ["a", "b"], default="a")
    for number in range(5):
        race.add(number, {"a": 100.0, "b": 100.2}, 101.0)
    assert race.noise == pytest.approx(0.01)
    assert race.copied == "a"


def test_noise_is_small_where_copies_differ_by_chance_only() -> None:
    noises = [run({"a": 10.0, "b": 10.1}, seed=seed)[0].noise or 0.0 for seed in range(20)]
    assert median(noises) < 0.002


def test_copies_of_one_candidate_are_never_held_against_another() -> None:
    race = Race(NO_HEATS, ["slow", "fast"])
    assert race.anchor == "slow"
    race.add(0, {"slow": 200.0, "fast": 100.0}, 201.0)  # out: twice as slow
    assert race.anchor == "fast"
    assert race.noise == pytest.approx(0.005)  # still what the copies of the slow one say
    race.add(1, {"fast": 100.0}, 101.0)
    assert (race.copied, race.copies) == ("fast", {1: 101.0})
    assert race.noise == pytest.approx(0.01)


def test_a_failed_candidate_lets_those_back_in_whom_it_alone_had_beaten() -> None:
    race = Race(POLICY, ["liar", "good", "close", "bad"])
    race.cut_rough({"liar": 1.0, "good": 10.0, "close": 1.2, "bad": 100.0})
    race.add(0, {"liar": 1.0, "close": 1.2}, None)
    assert race.running == ["liar"]
    race.fail("liar", "wrong")
    assert race.running == ["close"]
    race.fail("close", "wrong too")
    assert race.running == ["good"]
    assert race.dropped["liar"] == "wrong"
    assert "rough time" in race.dropped["bad"]
    assert race.finished() is None  # there is a candidate to measure


def test_race_ends_when_no_candidate_is_left() -> None:
    race = Race(POLICY, ["a"], default="a")
    race.fail("a", "crashed")
    assert race.finished() == "none left"
    assert race.anchor is None
    assert race.order(0) == []


@pytest.mark.parametrize("rounds", [3, 5, 10, 30])
def test_rounds_option_keeps_the_limits_in_order(rounds: int) -> None:
    policy = POLICY.with_rounds(rounds)
    assert policy.rounds == rounds
    assert policy.separated_rounds <= rounds <= policy.most_rounds <= max(2 * rounds, POLICY.most_rounds)


def test_usual_clock_ignores_missing_readings() -> None:
    assert usual_clock([None, 1980.0, 1900.0, None, 1970.0]) == 1970.0
    assert usual_clock([None, 0.0]) is None


def test_heats_drop_what_is_far_behind_and_are_no_rounds() -> None:
    race = Race(POLICY, ["default", "far", "near", "best", "other"], default="default", held=frozenset({"other"}))
    race.add(0, {"default": 200.0, "far": 120.0, "near": 110.0, "best": 100.0, "other": 300.0}, 201.0)
    assert race.running == ["default", "near", "best", "other"]
    assert race.dropped["far"] == "1.200 times the best one's time in the first heat"
    race.add(1, {"default": 200.0, "near": 103.3, "best": 101.0, "other": 300.0}, 201.0)
    assert race.running == ["default", "best", "other"]
    assert race.dropped["near"] == "1.061 times the best one's time in 2 heats"
    assert (race.best, race.noise, race.finished()) == (None, None, None)
    assert not any(race.times.values())
    race.add(2, dict.fromkeys(race.running, 100.0), 100.0)
    assert race.times["default"] == {2: 100.0}


def test_two_heats_are_judged_together() -> None:
    def after(second: float) -> list[str]:
        race = Race(POLICY, ["a", "b"])
        race.add(0, {"a": 100.0, "b": 104.0}, None)
        race.add(1, {"a": 100.0, "b": second}, None)
        return race.running

    assert after(105.0) == ["a", "b"]
    assert after(109.0) == ["a"]


def test_what_a_liar_had_beaten_is_back_and_judged_anew() -> None:
    race = Race(POLICY, ["liar", "good", "slow"])
    race.add(0, {"liar": 1.0, "good": 10.0, "slow": 20.0}, None)
    assert race.running == ["liar"]
    race.fail("liar", "wrong")
    assert race.running == ["good"]


def test_none_drops_out_where_all_are_to_be_measured() -> None:
    race = Race(replace(POLICY, exhaustive=True), ["a", "b"])
    race.add(0, {"a": 100.0, "b": 300.0}, None)
    assert race.running == ["a", "b"]
    assert race.times["b"] == {0: 300.0}


def test_another_baseline_is_measured_to_the_end() -> None:
    race, _ = run({"default": 12.0, "held": 900.0, "a": 10.0}, default="default", held=frozenset({"held"}))
    assert len(race.times["held"]) == len(race.times["a"]) >= POLICY.separated_rounds


# --- what is brought back, and what is kept --------------------------------------------------------------------------


def test_who_was_far_ahead_in_the_vetting_is_brought_back_once() -> None:
    """The winner was quick when it was vetted and is slow in the race: it had put out another one by that alone."""
    race = Race(POLICY, ["fades", "steady", "slow"], None)
    race.cut_rough({"fades": 10.0, "steady": 413.0, "slow": 9000.0})
    assert race.running == ["fades"]
    for number in range(POLICY.heats, 12):
        race.add(number, {"fades": 8142.0}, 8142.0)
    assert race.overlooked("fades") == ["steady"]
    race.restore(["steady"])
    assert race.finished() is None
    for number in range(12, 15):
        race.add(number, {"fades": 8142.0, "steady": 420.0 + number / 100}, 8142.0)
    assert "fades" in race.dropped
    assert winner(race) == "steady"
    assert race.overlooked("steady") == []


def test_who_lost_in_many_rounds_is_not_brought_back() -> None:
    race = Race(NO_HEATS, ["a", "b"], None)
    race.cut_rough({"a": 100.0, "b": 110.0})
    for number in range(5):
        race.add(number, {"a": 500.0 + number, "b": 520.0 + number}, 500.0)
    assert "b" in race.dropped
    assert race.overlooked("a") == []


def test_the_users_own_are_raced_to_the_end_however_slow() -> None:
    race = Race(POLICY, ["default", "a", "mine", "theirs"], "default", kept=frozenset({"mine"}))
    race.cut_rough({"default": 100.0, "a": 10.0, "mine": 900.0, "theirs": 900.0})
    number = 0
    while race.finished() is None:
        times = {"default": 100.0, "a": 10.0, "mine": 900.0}
        race.add(number, {key: us * (1 + number % 3 / 1e3) for key, us in times.items()}, 100.0)
        number += 1
    assert len(race.times["mine"]) == len(race.times["a"]) >= POLICY.separated_rounds
    assert set(race.dropped) == {"theirs"}


# --- rounds that must fit into a budget ------------------------------------------------------------------------------


def test_a_budget_s_rounds_are_for_baselines_then_own_then_the_fastest() -> None:
    rough = {"default": 900e3, "mine": 500e3, **{f"k{i}": 1e3 * (10 + i) for i in range(100)}}
    race = Race(NO_HEATS, list(rough), "default", kept=frozenset({"mine"}))
    race.rough = rough
    pace = Pace()
    whole = pace.predict(race, race.running, 10, 1)
    assert pace.surplus(race, 10, 1, 4 * whole) == []
    out = pace.surplus(race, 10, 1, 90.0)
    assert {"default", "mine"} & set(out) == set()
    assert out == [f"k{i}" for i in range(100 - len(out), 100)]
    # Nothing fits: the baseline is all that is left.
    assert set(pace.surplus(race, 10, 1, 0.0)) == set(rough) - {"default"}
    # Of those without a baseline the fastest one stays.
    alone = Race(NO_HEATS, ["a", "b", "c"], None)
    alone.rough = {"a": 3.0, "b": 1.0, "c": 2.0}
    assert pace.surplus(alone, 10, 1, 0.0) == ["c", "a"]


def test_the_pace_is_learnt_from_a_round() -> None:
    race = Race(NO_HEATS, ["a", "b"], None)
    race.rough = {"a": 100.0, "b": 100.0}
    pace = Pace()
    predicted = pace.predict(race, ["a", "b"], 10, 1)
    pace.learn(predicted, 3.0 * predicted)
    assert pace.predict(race, ["a", "b"], 10, 1) == pytest.approx(3.0 * predicted)


@pytest.mark.parametrize(("best_us", "calls"), [(0.0, 30), (7.0, 30), (200.0, 30), (201.0, 30), (400.0, 15), (5e6, 9)])
def test_long_kernels_are_called_less_often_in_a_round(best_us: float, calls: int) -> None:
    assert RacePolicy().calls(best_us) == calls
    assert RacePolicy(iterations=4).calls(best_us) == 4


def test_the_best_time_is_the_vettings_until_a_round_was_measured() -> None:
    race = Race(RacePolicy(heats=0), ["a", "b"])
    assert race.best_us == 0.0
    race.cut_rough({"a": 12.0, "b": 11.0})
    assert race.best_us == 11.0
    race.add(0, {"a": 10.0, "b": 10.5}, None)
    assert race.best_us == 10.0
