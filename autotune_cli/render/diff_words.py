"""Numbers, reasons and roles of a comparison in words. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Iterable

from autotune_cli.comparing.choices import ChoiceReason
from autotune_cli.comparing.decisions import Reason
from autotune_cli.comparing.records import Comparison
from autotune_cli.render.text import microseconds

# Reasons that aren't here are said by the verdict and its numbers.
_REASONS = {
    Reason.NOT_SIGNIFICANT: "not significant",
    Reason.SIGNIFICANT: "significant",
    Reason.WIDE_INTERVAL: "too wide an interval",
    Reason.BELOW_THRESHOLD: "small",
    Reason.FEW_ROUNDS: "few rounds",
    Reason.ROUNDS_DROPPED: "throttled rounds",
    Reason.CLOCK_DIFFERS: "the clock explains it",
    Reason.SAME_MEASUREMENT: "the same measurement",
    Reason.ROUGH: "rough times",
    Reason.NO_ROUNDS: "not raced",
    Reason.ROUNDS_ONLY_IN_A: "raced in A only",
    Reason.ROUNDS_ONLY_IN_B: "raced in B only",
}
_CHOICE_REASONS = {
    ChoiceReason.IN_TIE_SET: "inside the tie set, no news",
    ChoiceReason.BELOW_THRESHOLD: "within the threshold, no news",
    ChoiceReason.SESSIONS_DISAGREE: "the sessions of a side disagree, no news",
    ChoiceReason.OLD_WINNER_ABSENT: "the old one is not in B",
    ChoiceReason.OLD_WINNER_FAILED: "the old one does not run in B",
    ChoiceReason.NEW_WINNER_ABSENT_BEFORE: "the new one is not in A",
    ChoiceReason.NEW_WINNER_FAILED_BEFORE: "the new one did not run in A",
    ChoiceReason.NO_CHOICE_IN_A: "none was right in A",
    ChoiceReason.NO_CHOICE_IN_B: "none is right in B",
}
_CHOSEN = {"": [], "A": ["chosen in A"], "B": ["chosen in B"], "AB": ["chosen"]}


def percent_change(ratio: float) -> str:
    """``+6.7 %``; a speed-up by half is ``-50.0 %``; beyond twice, ``x 2.31``."""
    if not 0.01 <= ratio <= 3.0:
        return f"x {ratio:.3g}"
    return f"{100.0 * (ratio - 1.0):+.1f} %"


def change(ratio: float | None, interval: tuple[float, float] | None) -> str:
    """``+6.7 % (+6.4 .. +7.0)``."""
    if ratio is None:
        return ""
    if interval is None or interval[0] == interval[1]:
        return percent_change(ratio)
    low, high = (percent_change(end).removesuffix(" %") for end in interval)
    return f"{percent_change(ratio)} ({low} .. {high})"


def p_value(p: float | None) -> str:
    """``p 0.0001``."""
    if p is None:
        return ""
    return "p <0.0001" if p < 0.0001 else f"p {p:.4f}" if p < 0.1 else f"p {p:.2f}"


def plain_word(word: str | None) -> str:
    """A verdict or a status without underscores; nothing for None."""
    return "" if word is None else word.replace("_", " ")


def times(comparison: Comparison) -> str:
    """``37.42 -> 39.90 us``; rough ones as ``~413.0``, where there are no others."""
    shown = [
        microseconds(us) if us else f"~{microseconds(rough)}" if rough else "-"
        for us, rough in ((comparison.a_us, comparison.a_rough_us), (comparison.b_us, comparison.b_rough_us))
    ]
    return "" if shown == ["-", "-"] else f"{shown[0]} -> {shown[1]} us"


def reasons(found: Iterable[Reason]) -> str:
    """``not significant, few rounds``."""
    return ", ".join(_REASONS[reason] for reason in found if reason in _REASONS)


def choice_reasons(found: Iterable[ChoiceReason]) -> list[str]:
    """``inside the tie set, no news`` and the like."""
    return [_CHOICE_REASONS[reason] for reason in found if reason in _CHOICE_REASONS]


def role(comparison: Comparison) -> str:
    """`` (chosen in A, default)``, or nothing."""
    roles = [*_CHOSEN[comparison.chosen], *(["default"] if comparison.default else [])]
    return f" ({', '.join(roles)})" if roles else ""
