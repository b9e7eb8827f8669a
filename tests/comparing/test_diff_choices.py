from __future__ import annotations

from collections.abc import Sequence

import pytest
from diff_builders import FAST, SLOW, candidate, failed, noisy, report, result, run

from autotune_cli.comparing.choices import ChoiceReason
from autotune_cli.comparing.records import ChoiceComparison
from autotune_cli.comparing.verdicts import ChoiceVerdict
from autotune_cli.results.schema import RunFile

CHANGED, TIED = ChoiceVerdict.CHANGED, ChoiceVerdict.TIED


def one(fast: float, slow: float, winner: str | None, seed: int, ties: Sequence[str] = ()) -> RunFile:
    times = (candidate(FAST, noisy(fast, (seed, 1))), candidate(SLOW, noisy(slow, (seed, 2))))
    return run(result(times, winner=winner, ties=ties, when=f"2026-11-21T09:{seed:02d}:00Z"))


def choice(a: RunFile | list[RunFile], b: RunFile | list[RunFile]) -> ChoiceComparison:
    (found,) = report(a, b).choices
    return found


def test_unchanged() -> None:
    found = choice(one(40, 50, FAST, 1), one(40, 50, FAST, 2))
    assert found.decision.verdict == ChoiceVerdict.UNCHANGED
    assert found.ratio == pytest.approx(1.0, abs=0.01)


def test_changed_for_real_says_what_it_gains() -> None:
    a, b = one(40, 50, FAST, 1), one(50, 45, SLOW, 2)
    found, back = choice(a, b), choice(b, a)
    assert found.decision.verdict == back.decision.verdict == CHANGED
    assert found.decision.reasons == (ChoiceReason.BEYOND_THRESHOLD,)
    assert found.decision.gain == pytest.approx(50 / 45, rel=0.01)
    assert found.decision.before == pytest.approx(40 / 50, rel=0.01)
    assert found.ratio == pytest.approx(45 / 40, rel=0.01)
    assert (found.label_a, found.label_b) == (FAST, SLOW)
    assert back.decision.gain == pytest.approx(50 / 40, rel=0.01)


@pytest.mark.parametrize("side", [0, 1])
def test_inside_a_tie_set_is_no_news(side: int) -> None:
    ties = [[], []]  # type: list[list[str]]
    ties[side] = [SLOW if side == 0 else FAST]
    found = choice(one(40, 40.05, FAST, 1, ties[0]), one(40.05, 40, SLOW, 2, ties[1]))
    assert found.decision.verdict == TIED
    assert found.decision.reasons == (ChoiceReason.IN_TIE_SET,)


def test_a_separated_winner_by_less_than_the_threshold_is_no_news() -> None:
    found = choice(one(40, 40.24, FAST, 1), one(40.24, 40, SLOW, 2))
    assert found.decision.verdict == TIED
    assert found.decision.reasons == (ChoiceReason.BELOW_THRESHOLD,)


def test_a_winner_by_luck_is_no_news() -> None:
    """A took the slower one, tied with the best for want of rounds; nothing changed in how the two compare."""
    found = choice(one(41, 40, FAST, 1), one(41, 40, SLOW, 2))
    assert found.decision.verdict == TIED


def test_the_old_winner_fails_or_is_gone() -> None:
    a = one(40, 50, FAST, 1)
    wrong = run(result((failed(FAST), candidate(SLOW, noisy(50, 3))), winner=SLOW))
    gone = run(result((candidate(SLOW, noisy(50, 3)),), winner=SLOW))
    for b, there, back in (
        (wrong, ChoiceReason.OLD_WINNER_FAILED, ChoiceReason.NEW_WINNER_FAILED_BEFORE),
        (gone, ChoiceReason.OLD_WINNER_ABSENT, ChoiceReason.NEW_WINNER_ABSENT_BEFORE),
    ):
        assert choice(a, b).decision.verdict == choice(b, a).decision.verdict == CHANGED
        assert choice(a, b).decision.reasons == (there,)
        assert choice(b, a).decision.reasons == (back,)


def test_no_winner_any_more() -> None:
    a = one(40, 50, FAST, 1)
    none = run(result((failed(FAST), failed(SLOW)), winner=None))
    assert choice(a, none).decision.reasons == (ChoiceReason.NO_CHOICE_IN_B,)
    assert choice(none, a).decision.reasons == (ChoiceReason.NO_CHOICE_IN_A,)
    assert choice(none, none).decision.verdict == ChoiceVerdict.NONE


def test_a_winner_that_was_dropped_after_one_round_counts_by_its_medians() -> None:
    dropped = (candidate(FAST, (60.0,), status="eliminated"), candidate(SLOW, noisy(50, 2)))
    found = choice(one(40, 50, FAST, 1), run(result(dropped, winner=SLOW)))
    assert found.decision.verdict == CHANGED
    assert found.decision.gain == pytest.approx(1.2, rel=0.01)


def test_sessions_that_disagree_are_no_news() -> None:
    a = [one(40, 50, FAST, i) for i in (1, 2, 3)]
    b = [one(50, 45, SLOW, 4), one(50, 45, SLOW, 5), one(40, 50, FAST, 6)]
    assert choice(a, b).decision.reasons == (ChoiceReason.SESSIONS_DISAGREE,)
    assert choice(b, a).decision.reasons == (ChoiceReason.SESSIONS_DISAGREE,)
    assert choice(a, b[:2]).decision.verdict == CHANGED
