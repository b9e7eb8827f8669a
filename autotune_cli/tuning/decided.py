"""Is a race decided? By the intervals of the best candidate's rivals, each the ratio of the rival's time to its own."""

from __future__ import annotations

from collections.abc import Collection

from autotune_cli.measure.statistics import Ratio, expected_ratio
from autotune_cli.tuning.policy import RacePolicy


def is_decided(policy: RacePolicy, rivals: Collection[Ratio]) -> bool:
    """Is each rival clearly slower, or so close that it doesn't matter which of the two runs; or is it known of all of
    them how far behind they are?
    """
    settled = all(is_clear(policy, rival) or rival.high < 1.0 + policy.harmless for rival in rivals)
    return settled or is_precise(policy, rivals)


def can_be_decided(policy: RacePolicy, rounds: int, rivals: Collection[Ratio]) -> bool:
    """Would the most rounds that there can be decide what so many haven't, if they are like these? Those under a power
    cap scatter so that it takes a hundred.
    """
    return is_decided(policy, [expected_ratio(rival, rounds, policy.most_rounds) for rival in rivals])


def is_clear(policy: RacePolicy, rival: Ratio) -> bool:
    """Is it certainly no tie?"""
    return rival.low > 1.0 + policy.tie_margin


def is_precise(policy: RacePolicy, rivals: Collection[Ratio]) -> bool:
    """Are all intervals so narrow that more rounds are of no use?"""
    return all((rival.high - rival.low) / (2.0 * rival.value) <= policy.precision for rival in rivals)
