"""Did a time change? One decision a candidate, over numbers: a frozen record with a verdict and reason codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.comparing.rough import GPU_FACTOR, rough_ratio
from autotune_cli.comparing.statistics import ENOUGH_ROUNDS, Difference, Estimate, difference, holm, ratio_of
from autotune_cli.comparing.verdicts import ChangeVerdict, FailOn


class Reason(StrEnum):
    """Why; documented in docs/diff.md."""

    SAME_MEASUREMENT = "same_measurement"
    WITHIN_THRESHOLD = "within_threshold"
    SIGNIFICANT = "significant"
    NOT_SIGNIFICANT = "not_significant"
    BEYOND_THRESHOLD = "beyond_threshold"
    BELOW_THRESHOLD = "below_threshold"
    WIDE_INTERVAL = "wide_interval"
    FEW_ROUNDS = "few_rounds"
    ROUNDS_DROPPED = "rounds_dropped"
    CLOCK_DIFFERS = "clock_differs"
    NO_ROUNDS = "no_rounds"
    ROUGH = "rough"
    ROUNDS_ONLY_IN_A = "rounds_only_in_a"
    ROUNDS_ONLY_IN_B = "rounds_only_in_b"
    STATUS_WORSE = "status_worse"
    STATUS_BETTER = "status_better"
    STATUS_OTHER = "status_other"
    ABSENT = "absent"


@dataclass(frozen=True)
class DecisionRule:
    """How a verdict is reached."""

    threshold: float = 0.01
    """Practical size, relative: a smaller change is no news."""
    alpha: float = 0.01
    """Chance of even one false slower or faster among all comparisons, by Holm. 1 %, as a check that
    is wrong once in twenty runs gets switched off."""
    coverage: float = 0.95
    """Of the interval that is shown, and that decides what is proven the same."""
    reach: float = 0.75
    """A slow-down of exactly the threshold is measured as a bit more or a bit less. So an estimate counts from this
    share of the threshold on, if its interval reaches the threshold."""
    most_dropped: float = 0.2
    """Share of rounds dropped as throttled, from which a difference is not believed."""


@dataclass(frozen=True)
class Timing:
    """The numbers of one comparison. ``None`` for ``a`` or ``b``: no rounds there."""

    a: Estimate | None
    b: Estimate | None
    noise: float = 0.0
    """Relative: the larger of the noise floors that apply."""
    same_measurement: bool = False
    """Both sides hold the very same rounds."""
    few_rounds: bool = False
    """Fewer than ``ENOUGH_ROUNDS`` in a session of either side: it dropped out of the race at once."""
    dropped: float = 0.0
    """Larger share of dropped rounds."""
    same_card: bool = True
    """Measured on the same card, and known to be; otherwise the cards may be what differs."""
    rough: tuple[float | None, float | None] = (None, None)
    """Microseconds: the vetting's one time on each side, for candidates that were not raced there."""
    rough_factor: float = GPU_FACTOR
    """Ratio of rough times from which a change counts."""
    eliminated: bool = False
    """Out before the race on a side, for its time."""
    clock_log_ratio: float = 0.0
    """log(SM clock of A over that of B): how much slower B would be if time went with the clock."""


@dataclass(frozen=True)
class Decision:
    """What is said of one candidate's time. Ratios are B over A: above 1 is slower."""

    verdict: ChangeVerdict
    reasons: tuple[Reason, ...]
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    """Corrected for the number of comparisons."""
    threshold: float | None = None
    """Relative, the one that was applied."""

    @property
    def rank(self) -> int:
        """The most important decision has the smallest."""
        return self.verdict.row.rank_of(self._is_for_the_worse)

    @property
    def fails_as(self) -> FailOn | None:
        """The kind of failure that it counts for."""
        return self.verdict.row.fails_as(self._is_for_the_worse)

    @property
    def _is_for_the_worse(self) -> bool:
        return Reason.STATUS_WORSE in self.reasons


def decide(timings: Sequence[Timing], rule: DecisionRule) -> list[Decision]:
    """One decision for each.

    Contenders and candidates that dropped out of the race at once are two families of comparisons, each corrected for
    its own number (Holm): the many that dropped out must not blunt what is said of the few that matter.
    """
    decisions: list[Decision | None] = [None] * len(timings)
    measured: list[tuple[int, Timing, Difference]] = []
    for index, timing in enumerate(timings):
        if timing.a is None or timing.b is None:
            decisions[index] = _by_rough_times(timing)
        elif timing.same_measurement:
            threshold = max(rule.threshold, timing.noise)
            decisions[index] = Decision(ChangeVerdict.SAME, (Reason.SAME_MEASUREMENT,), 1.0, (1.0, 1.0), 1.0, threshold)
        else:
            measured.append((index, timing, difference(timing.a, timing.b, rule.coverage, timing.same_card)))
    for few in (False, True):
        family = [item for item in measured if item[1].few_rounds is few]
        for (index, timing, found), p in zip(family, holm([item[2].p for item in family]), strict=True):
            decisions[index] = judge(timing, found, p, rule)
    return [decision for decision in decisions if decision is not None]


def judge(timing: Timing, found: Difference, p: float, rule: DecisionRule) -> Decision:
    """The decision on one difference.

    Args:
        p: corrected for the number of comparisons.
    """
    threshold = max(rule.threshold, timing.noise)
    limit = math.log1p(threshold)
    size = abs(found.value)
    # Seen from the side of the slow-down, whichever run is slower.
    far = found.high if found.value >= 0.0 else -found.low
    near = found.low if found.value >= 0.0 else -found.high
    numbers = (ratio_of(found.value), (ratio_of(found.low), ratio_of(found.high)), p, threshold)
    if far < limit and -near < limit:
        return Decision(ChangeVerdict.SAME, (Reason.WITHIN_THRESHOLD,), *numbers)
    significant = p < rule.alpha
    large = size >= rule.reach * limit and far >= limit
    doubts = _doubts(timing, found, rule, limit) if significant and large else ()
    if significant and large and not doubts:
        verdict = ChangeVerdict.SLOWER if found.value > 0.0 else ChangeVerdict.FASTER
        return Decision(verdict, (Reason.SIGNIFICANT, Reason.BEYOND_THRESHOLD), *numbers)
    reasons = [Reason.SIGNIFICANT if significant else Reason.NOT_SIGNIFICANT]
    reasons.append(Reason.BEYOND_THRESHOLD if large else Reason.BELOW_THRESHOLD)
    if far - near > 2.0 * limit:
        reasons.append(Reason.WIDE_INTERVAL)
    if timing.few_rounds:
        reasons.append(Reason.FEW_ROUNDS)
    return Decision(ChangeVerdict.AMBIGUOUS, (*reasons, *doubts), *numbers)


def _doubts(timing: Timing, found: Difference, rule: DecisionRule, limit: float) -> tuple[Reason, ...]:
    """Why a significant and large difference may still not be the kernel's."""
    doubts = []
    if timing.dropped > rule.most_dropped:
        doubts.append(Reason.ROUNDS_DROPPED)
    clock = timing.clock_log_ratio
    # The clock explains it if it is most of it, and what is left once it is taken out would not have been large.
    if clock * found.value > 0.5 * found.value**2 and abs(found.value - clock) < rule.reach * limit:
        doubts.append(Reason.CLOCK_DIFFERS)
    return tuple(doubts)


def _by_rough_times(timing: Timing) -> Decision:
    """The decision on a candidate without rounds on one side or both."""
    measured = (timing.a.us if timing.a else None, timing.b.us if timing.b else None)
    ratio, beyond = rough_ratio(timing.rough, measured, timing.rough_factor)
    if ratio is not None and beyond:
        verdict = ChangeVerdict.SLOWER if ratio > 1.0 else ChangeVerdict.FASTER
        reasons = (Reason.ROUGH, Reason.BEYOND_THRESHOLD)
        return Decision(verdict, reasons, ratio, threshold=timing.rough_factor - 1.0)
    return Decision(ChangeVerdict.ELIMINATED if timing.eliminated else ChangeVerdict.NOT_TIMED, (_which(timing),))


def _which(timing: Timing) -> Reason:
    if timing.a is None and timing.b is None:
        return Reason.NO_ROUNDS
    return Reason.ROUNDS_ONLY_IN_B if timing.a is None else Reason.ROUNDS_ONLY_IN_A


def few(sessions: Sequence[Sequence[float]]) -> bool:
    """Did a candidate drop out before it showed a spread of its own?"""
    return any(len(rounds) < ENOUGH_ROUNDS for rounds in sessions)
