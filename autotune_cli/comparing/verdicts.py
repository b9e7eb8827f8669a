"""The verdicts of ``autotune diff``, one row each: where it ranks, how it is counted, shown and coloured.

This table is the only one. Whatever sorts, counts, prints or draws reads it, and a row without one of its fields is an
error of the type checker and of the import. docs/contributing.md says how to add a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Self, TypeVar

Value = TypeVar("Value")


class Tone(StrEnum):
    """What a verdict means to a reader. Each renderer maps it to a colour of its own, see :func:`for_every_tone`."""

    FAILED = "failed"
    WORSE = "worse"
    BETTER = "better"
    NEWS = "news"
    """A change that is neither good nor bad: another winner."""
    UNCLEAR = "unclear"
    PLAIN = "plain"
    FAINT = "faint"


def for_every_tone(values: Mapping[Tone, Value]) -> Mapping[Tone, Value]:
    """The values as they are.

    Raises:
        ValueError: a tone has none. It is raised when the renderer is imported.
    """
    missing = [tone for tone in Tone if tone not in values]
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}")
    return values


class FailOn(StrEnum):
    """What can be a failure, in the order in which failures are listed."""

    words: str
    """What follows the number of failures."""

    def __new__(cls, word: str, words: str) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.words = words
        return member

    SLOWER = "slower", "slower"
    CHOICE = "choice", "changed in choice"
    STATUS = "status", "no longer right or runnable"
    AMBIGUOUS = "ambiguous", "ambiguous"


class Subject(Enum):
    """What a verdict speaks of, which decides what its row says."""

    TIMES = auto()
    """Times, their ratio, and why."""
    STATUS = auto()
    """The old and the new status."""
    PRESENCE = auto()
    """Which side has the candidate."""
    CHOICE = auto()
    """The winner of a workload."""


class Counted(Enum):
    """Whether the line of totals has the number of a verdict."""

    ALWAYS = auto()
    """Zero is news, too."""
    IF_ANY = auto()


class Shown(Enum):
    """Which rows are printed unless all are asked for."""

    ALWAYS = auto()
    IF_CHOSEN = auto()
    """Those of a default and of a side's winner."""
    UNLESS_SMALL = auto()
    """Those of a default and of a side's winner, and others unless the change is small or the rounds are few."""
    WITH_ALL = auto()
    """None: the total says enough."""


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """What all of the program knows of one verdict."""

    rank: int
    """The smallest comes first in every format. Ranks are tens, so that a new verdict fits between two."""
    rank_for_the_worse: int | None = None
    """Of verdicts that have a direction (a status): the rank of a change for the worse, the only one that fails."""
    subject: Subject
    counted: Counted
    shown: Shown
    fail_on: FailOn | None
    """The kind of failure that makes it exit code 1."""
    tone: Tone
    word: str | None = None
    """In the first column of the table; None: the verdict itself."""

    def rank_of(self, for_the_worse: bool) -> int:
        """The rank of one change of this verdict."""
        return self.rank_for_the_worse if for_the_worse and self.rank_for_the_worse is not None else self.rank

    def fails_as(self, for_the_worse: bool) -> FailOn | None:
        """The kind of failure that one change of this verdict counts for."""
        return self.fail_on if self.rank_for_the_worse is None or for_the_worse else None


class _DiffVerdict(StrEnum):
    row: VerdictRow

    def __new__(cls, verdict: str, row: VerdictRow) -> Self:
        member = str.__new__(cls, verdict)
        member._value_ = verdict
        member.row = row
        return member


# fmt: off
class ChangeVerdict(_DiffVerdict):
    """Of one candidate of one workload. The order is that of the totals."""

    SAME = "same", VerdictRow(
        rank=100, subject=Subject.TIMES, counted=Counted.ALWAYS, shown=Shown.WITH_ALL, fail_on=None, tone=Tone.FAINT)
    SLOWER = "slower", VerdictRow(
        rank=10, subject=Subject.TIMES, counted=Counted.ALWAYS, shown=Shown.ALWAYS, fail_on=FailOn.SLOWER,
        tone=Tone.WORSE)
    FASTER = "faster", VerdictRow(
        rank=30, subject=Subject.TIMES, counted=Counted.ALWAYS, shown=Shown.ALWAYS, fail_on=None, tone=Tone.BETTER)
    AMBIGUOUS = "ambiguous", VerdictRow(
        rank=50, subject=Subject.TIMES, counted=Counted.ALWAYS, shown=Shown.UNLESS_SMALL, fail_on=FailOn.AMBIGUOUS,
        tone=Tone.UNCLEAR)
    STATUS = "status changed", VerdictRow(
        rank=40, rank_for_the_worse=0, subject=Subject.STATUS, counted=Counted.IF_ANY, shown=Shown.ALWAYS,
        fail_on=FailOn.STATUS, tone=Tone.FAILED, word="status")
    ONLY_A = "only in A", VerdictRow(
        rank=70, subject=Subject.PRESENCE, counted=Counted.IF_ANY, shown=Shown.ALWAYS, fail_on=None, tone=Tone.PLAIN)
    ONLY_B = "only in B", VerdictRow(
        rank=60, subject=Subject.PRESENCE, counted=Counted.IF_ANY, shown=Shown.ALWAYS, fail_on=None, tone=Tone.PLAIN)
    ELIMINATED = "eliminated", VerdictRow(
        rank=90, subject=Subject.TIMES, counted=Counted.IF_ANY, shown=Shown.IF_CHOSEN, fail_on=None, tone=Tone.FAINT)
    """Right on both sides, and out before the race on one or both: its rough times show no change."""
    NOT_TIMED = "not timed", VerdictRow(
        rank=110, subject=Subject.TIMES, counted=Counted.IF_ANY, shown=Shown.WITH_ALL, fail_on=None, tone=Tone.FAINT)
    """On neither side, or on one only, for another reason: a duplicate of another, no budget, wrong on both sides."""


class ChoiceVerdict(_DiffVerdict):
    """Of the winner of one workload. The order is that of the totals."""

    UNCHANGED = "unchanged", VerdictRow(
        rank=120, subject=Subject.CHOICE, counted=Counted.ALWAYS, shown=Shown.WITH_ALL, fail_on=None, tone=Tone.FAINT,
        word="choice")
    TIED = "changed within the ties", VerdictRow(
        rank=80, subject=Subject.CHOICE, counted=Counted.IF_ANY, shown=Shown.ALWAYS, fail_on=None, tone=Tone.FAINT,
        word="choice")
    """Not news: the winners can't be told apart, or differ by less than the threshold."""
    CHANGED = "changed", VerdictRow(
        rank=20, subject=Subject.CHOICE, counted=Counted.ALWAYS, shown=Shown.ALWAYS, fail_on=FailOn.CHOICE,
        tone=Tone.NEWS, word="choice")
    NONE = "no choice", VerdictRow(
        rank=120, subject=Subject.CHOICE, counted=Counted.IF_ANY, shown=Shown.WITH_ALL, fail_on=None, tone=Tone.FAINT,
        word="choice")
    """On neither side."""
# fmt: on
