"""Is a race decided? By the intervals of the best candidate's rivals, each the ratio of the rival's time to its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from autotune_cli.measure.statistics import Ratio, expected_ratio
from autotune_cli.tuning.policy import RacePolicy


class Rival(NamedTuple):
    """What the rounds say of one of them."""

    ratio: Ratio
    rounds: int
    """That it has in common with the best one."""


def is_decided(policy: RacePolicy, rivals: Collection[Rival]) -> bool:
    """Is of each rival known what matters of it?"""
    return all(_is_settled(policy, rival.ratio) for rival in rivals)


def can_be_decided(policy: RacePolicy, rivals: Collection[Rival]) -> bool:
    """Would the most rounds that there can be decide what these haven't, if they are like these? Times under a power
    cap scatter so that it takes a hundred.
    """
    return all(_is_settled(policy, expected_ratio(*rival, policy.most_rounds)) for rival in rivals)


def may_be_beaten(policy: RacePolicy, default: Rival, margin: float, compared: int) -> bool:
    """Is the default not beaten beyond doubt, and may it be after the most rounds? It need only be likely to be slower
    then: with the margin as well, a third of those that all rounds would show to be beaten stay (simulated).

    Args:
        margin: relative; closer than this is a tie.
        compared: how many candidates were raced; the interval of ``default.ratio`` holds for them together.
    """
    if default.ratio.low > 1.0 + margin:
        return False
    return expected_ratio(*default, policy.most_rounds, compared).low > 1.0


def is_clear(policy: RacePolicy, ratio: Ratio) -> bool:
    """Is it certainly no tie?"""
    return ratio.low > 1.0 + policy.tie_margin


def is_precise(policy: RacePolicy, ratio: Ratio) -> bool:
    """Is it so narrow that more rounds are of no use?"""
    return (ratio.high - ratio.low) / (2.0 * ratio.value) <= policy.precision


def _is_settled(policy: RacePolicy, ratio: Ratio) -> bool:
    """Clearly slower, so close that it doesn't matter which of the two runs, or known to be in between."""
    return is_clear(policy, ratio) or ratio.high < 1.0 + policy.harmless or is_precise(policy, ratio)
