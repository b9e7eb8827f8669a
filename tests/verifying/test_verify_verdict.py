"""What is said of pairs of numbers."""

from __future__ import annotations

import random

import pytest

from autotune_cli.verifying.measuring import Measured, Pair, Plan, Sample
from autotune_cli.verifying.verdict import Expectation, Kept, Metric, Verification, VerifyVerdict, verify


def sample(itl_s: float) -> Sample:
    return Sample(ttft_s=0.1, itl_s=itl_s, tokens_per_s=1.0 / itl_s, tokens=64, prompt_tokens=256)


def pairs(change: float, noise: float, count: int, seed: object) -> list[Pair]:
    """New takes ``1 + change`` times as long; both scatter, and what they share scatters by much more."""
    drawn = random.Random(str(seed))
    found = []
    for number in range(count):
        shared = 0.02 * (1.0 + 0.3 * drawn.random())
        base, new = (shared * factor * (1.0 + drawn.gauss(0.0, noise)) for factor in (1.0, 1.0 + change))
        found.append(Pair(number, "base", sample(base), sample(new)))
    return found


def judged(found: list[Pair], expect: float | None = None) -> Verification:
    measured = Measured(Plan(pairs=len(found)), {"base": "m", "new": "m"}, found)
    return verify(measured, 0.01, None if expect is None else Expectation(Metric.ITL, expect))


def test_no_change_is_hardly_ever_called_one() -> None:
    """The intervals hold at 99 % for the three metrics together, and two of them are one here."""
    said = [judged(pairs(0.0, 0.05, 12, seed)).change(Metric.ITL).verdict for seed in range(600)]
    assert sum(verdict in (VerifyVerdict.BETTER, VerifyVerdict.WORSE) for verdict in said) <= 6


def test_a_change_of_twice_the_noise_is_found() -> None:
    said = [judged(pairs(-0.04, 0.02, 20, seed)).change(Metric.ITL).verdict for seed in range(100)]
    assert said.count(VerifyVerdict.BETTER) >= 90


def test_a_small_change_is_no_news_however_sure() -> None:
    found = judged(pairs(0.004, 0.0005, 30, 1))
    assert found.change(Metric.ITL).verdict is VerifyVerdict.SAME
    assert found.exit_code == 0


@pytest.mark.parametrize(("change", "verdicts"), [(0.2, ("worse", "worse")), (-0.2, ("better", "better"))])
def test_less_time_and_more_tokens_are_better(change: float, verdicts: tuple[str, str]) -> None:
    found = judged(pairs(change, 0.01, 12, 1))
    assert (found.change(Metric.ITL).verdict, found.change(Metric.THROUGHPUT).verdict) == verdicts
    assert found.exit_code == (1 if change > 0 else 0)
    improvement = found.change(Metric.ITL).improvement
    assert improvement is not None
    assert improvement.low < -change < improvement.high
    assert improvement.value == pytest.approx(-change, abs=0.02)


@pytest.mark.parametrize(
    ("change", "noise", "expect", "kept", "code"),
    [
        (-0.05, 0.005, 0.05, Kept.CONFIRMED, 0),
        (-0.05, 0.005, 0.02, Kept.CONFIRMED, 0),
        (-0.05, 0.005, 0.10, Kept.REFUTED, 1),
        (0.0, 0.005, 0.05, Kept.REFUTED, 1),
        (0.0, 0.2, 0.05, Kept.UNDECIDED, 3),
    ],
)
def test_promises(change: float, noise: float, expect: float, kept: Kept, code: int) -> None:
    found = judged(pairs(change, noise, 20, 5), expect)
    assert (found.kept, found.exit_code) == (kept, code)


def test_too_few_pairs_say_nothing() -> None:
    assert judged([]).change(Metric.ITL).verdict is VerifyVerdict.UNCLEAR
    assert judged([], 0.05).kept is Kept.UNDECIDED
    one = judged(pairs(-0.5, 0.001, 1, 1))
    assert one.change(Metric.ITL).verdict is VerifyVerdict.UNCLEAR


def test_a_clock_that_stood_still_is_no_time() -> None:
    still = Sample(ttft_s=0.0, itl_s=0.0, tokens_per_s=0.0, tokens=5, prompt_tokens=None)
    found = judged([Pair(0, "base", still, still)])
    assert [change.ratio for change in found.changes] == [None, None, None]


def test_prompts_of_other_lengths_are_noted() -> None:
    long = Sample(0.1, 0.02, 50.0, 64, 300.0)
    found = judged([Pair(0, "base", sample(0.02), long)])
    assert found.notes == ("prompts have 256 tokens on base, 300 on new: not the same work",)
