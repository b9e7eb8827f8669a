"""Did a workload's winner change, and is that news? Plain functions over numbers and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.comparing.majority import majority
from autotune_cli.comparing.verdicts import ChoiceVerdict, FailOn
from autotune_cli.measure.statistics import median, paired_ratio

Times = Mapping[int, float]
"""Microseconds by round."""


class ChoiceReason(StrEnum):
    """Why; documented in docs/diff.md."""

    SAME_WINNER = "same_winner"
    IN_TIE_SET = "in_tie_set"
    BELOW_THRESHOLD = "below_threshold"
    BEYOND_THRESHOLD = "beyond_threshold"
    SESSIONS_DISAGREE = "sessions_disagree"
    OLD_WINNER_ABSENT = "old_winner_absent"
    OLD_WINNER_FAILED = "old_winner_failed"
    NEW_WINNER_ABSENT_BEFORE = "new_winner_absent_before"
    NEW_WINNER_FAILED_BEFORE = "new_winner_failed_before"
    NO_CHOICE_IN_A = "no_choice_in_a"
    NO_CHOICE_IN_B = "no_choice_in_b"
    NO_TIMES = "no_times"


@dataclass(frozen=True)
class SessionChoice:
    """The choice of one session."""

    winner: str | None
    tie_set: tuple[str, ...]
    times: Mapping[str, Times]
    """Rounds in this session of the winners of all sessions, where they have any."""
    rough: Mapping[str, float]
    """Their rough times (microseconds), where they were right."""
    statuses: Mapping[str, str]
    """Their statuses; one that isn't there has none."""


@dataclass(frozen=True)
class ChoiceDecision:
    """What is said of one workload's choice."""

    verdict: ChoiceVerdict
    reasons: tuple[ChoiceReason, ...]
    a: str | None
    """Winner in A: that of most sessions, the newest one's in a draw."""
    b: str | None
    gain: float | None = None
    """What the new winner gains in B: time of the old winner over that of the new one, both in B's own rounds."""
    gain_interval: tuple[float, float] | None = None
    before: float | None = None
    """The same in A: below 1, the old winner was the better one there."""

    @property
    def rank(self) -> int:
        """The most important decision has the smallest; candidates' decisions are on the same scale."""
        return self.verdict.row.rank

    @property
    def fails_as(self) -> FailOn | None:
        """The kind of failure that it counts for."""
        return self.verdict.row.fail_on


def judge_choice(
    a: Sequence[SessionChoice], b: Sequence[SessionChoice], threshold: float, right: Sequence[str]
) -> ChoiceDecision:
    """Compare the winners of one workload.

    A change is news only if the old winner is clearly slower in B, or the new one clearly slower in A, than the other
    one, and if how the two compare has changed from A to B; or if one of them couldn't run there. Both sides count, so
    that swapping A and B mirrors the result.

    Args:
        a: one a session, oldest first; not empty.
        threshold: relative, the practical size.
        right: statuses of candidates that may run.
    """
    old, new = (majority([session.winner for session in side]) for side in (a, b))
    if old == new:
        verdict = ChoiceVerdict.NONE if old is None else ChoiceVerdict.UNCHANGED
        return ChoiceDecision(verdict, (ChoiceReason.SAME_WINNER,) if old else (ChoiceReason.NO_TIMES,), old, new)
    if old is None or new is None:
        reason = ChoiceReason.NO_CHOICE_IN_A if old is None else ChoiceReason.NO_CHOICE_IN_B
        return ChoiceDecision(ChoiceVerdict.CHANGED, (reason,), old, new)
    gain, gain_low, gain_high = _gain(b, old, new)
    # In A from the other side: how much slower the new winner was than the old one.
    lead, lead_low, _ = _gain(a, new, old)
    interval = None if gain_low is None or gain_high is None else (gain_low, gain_high)

    def decision(verdict: ChoiceVerdict, *reasons: ChoiceReason) -> ChoiceDecision:
        return ChoiceDecision(verdict, reasons, old, new, gain, interval, None if lead is None else 1.0 / lead)

    forced = _forced(a, b, old, new, right)
    if forced:
        return decision(ChoiceVerdict.CHANGED, *forced)
    if any({old, new} <= set(session.tie_set) for session in (*a, *b)):
        return decision(ChoiceVerdict.TIED, ChoiceReason.IN_TIE_SET)
    if gain is None and lead is None:
        return decision(ChoiceVerdict.CHANGED, ChoiceReason.NO_TIMES)
    beyond = _beyond(gain, gain_low, threshold) or _beyond(lead, lead_low, threshold)
    # A winner by luck, tied with the best because it had few rounds, was no better in A than it is in B.
    if gain is not None and lead is not None and gain_low is not None and lead_low is not None:
        beyond = beyond and _beyond(gain * lead, gain_low * lead_low, threshold)
    if beyond:
        # Several sessions a side must agree among themselves, each on its own winner.
        if any(session.winner != old for session in a) or any(session.winner != new for session in b):
            return decision(ChoiceVerdict.TIED, ChoiceReason.SESSIONS_DISAGREE)
        return decision(ChoiceVerdict.CHANGED, ChoiceReason.BEYOND_THRESHOLD)
    return decision(ChoiceVerdict.TIED, ChoiceReason.BELOW_THRESHOLD)


def _beyond(value: float | None, low: float | None, threshold: float) -> bool:
    return value is not None and value > 1.0 + threshold and low is not None and low > 1.0


def _forced(
    a: Sequence[SessionChoice], b: Sequence[SessionChoice], old: str, new: str, right: Sequence[str]
) -> list[ChoiceReason]:
    """The old winner can't run in B, or the new one couldn't in A, in any session."""
    reasons = []
    for sessions, key, absent, failed in (
        (b, old, ChoiceReason.OLD_WINNER_ABSENT, ChoiceReason.OLD_WINNER_FAILED),
        (a, new, ChoiceReason.NEW_WINNER_ABSENT_BEFORE, ChoiceReason.NEW_WINNER_FAILED_BEFORE),
    ):
        if all(key not in session.statuses for session in sessions):
            reasons.append(absent)
        elif not any(session.statuses.get(key) in right for session in sessions):
            reasons.append(failed)
    return reasons


def _gain(sessions: Sequence[SessionChoice], slow: str, fast: str) -> tuple[float | None, float | None, float | None]:
    """Time of ``slow`` over that of ``fast`` in the same rounds, with its 99 % interval; the median session's."""
    found: list[tuple[float, float, float]] = []
    for session in sessions:
        ratio = paired_ratio(session.times.get(slow, {}), session.times.get(fast, {}))
        if ratio is not None and ratio.low > 0.0:
            found.append((ratio.value, ratio.low, ratio.high))
            continue
        middle = [_middle(session, key) for key in (slow, fast)]
        if middle[0] is not None and middle[1] is not None:
            # Dropped from the race after a round or before it, by a margin tens of times the spread.
            value = middle[0] / middle[1]
            found.append((value, value, value))
    if not found:
        return None, None, None
    return sorted(found)[len(found) // 2]


def _middle(session: SessionChoice, key: str) -> float | None:
    times = session.times.get(key)
    return median(list(times.values())) if times else session.rough.get(key)
