"""A comparison's rows as people read them, for tables and markdown alike. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.comparing.choices import ChoiceReason, ChoiceVerdict
from autotune_cli.comparing.records import ChoiceComparison, Comparison, Report
from autotune_cli.comparing.verdicts import Reason, Verdict
from autotune_cli.render.text import microseconds, plural

# A candidate that is in one side only, or whose status changed, in more workloads than this is one row.
_EACH = 2
# More rows than this of candidates that one side has, and nobody chose, are one row: what was asked for differs, as by
# --backend, and that is no news of any of them.
_ONLY = 3
# Backends that such a row names.
_BACKENDS = 4
_RANKS = {Verdict.SLOWER: 1, Verdict.FASTER: 3, Verdict.AMBIGUOUS: 5, Verdict.ONLY_B: 6, Verdict.ONLY_A: 7}
_SHORT = {
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
_CHOICE = {
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


@dataclass(frozen=True)
class Line:
    """One row as people read it."""

    word: str
    place: str
    what: str
    times: str = ""
    change: str = ""
    note: str = ""


def lines(report: Report, every: bool = False) -> list[Line]:
    """The rows, the most important first: what got worse, choices, what got better, what is unclear, what is new.

    Args:
        every: also those that a count says enough of, and each candidate on a row of its own.
    """
    groups = [[c] for c in report.comparisons] if every else _grouped([c for c in report.comparisons if _important(c)])
    choices = [c for c in report.choices if every or _is_news(c)]
    # Ranks of candidates and of choices have no number in common; within a rank the report's order stays.
    rows = [(_rank(group[0]), _candidate_line(group)) for group in groups] if every else _with_folded(groups)
    rows += [(_choice_rank(choice), _choice_line(choice)) for choice in choices]
    return [line for _, line in sorted(rows, key=lambda row: row[0])]


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


def _grouped(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Presence and status of a candidate in many workloads as one row."""
    groups: dict[object, list[Comparison]] = {}
    for index, comparison in enumerate(comparisons):
        key: object = index
        if comparison.verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B):
            key = (comparison.verdict, comparison.candidate, comparison.status_a, comparison.status_b)
        groups.setdefault(key, []).append(comparison)
    found = []
    for group in groups.values():
        found += [group] if len(group) > _EACH else [[comparison] for comparison in group]
    return found


def _with_folded(groups: Sequence[list[Comparison]]) -> list[tuple[int, Line]]:
    """A row each with its rank, and one row for all that are in one side only, if they are many."""
    rows = []
    folded: dict[Verdict, list[list[Comparison]]] = {Verdict.ONLY_A: [], Verdict.ONLY_B: []}
    for group in groups:
        first = group[0]
        if first.verdict in folded and not (first.chosen or first.default):
            folded[first.verdict].append(group)
        else:
            rows.append((_rank(first), _candidate_line(group)))
    for verdict, found in folded.items():
        if len(found) <= _ONLY:
            rows += [(_rank(group[0]), _candidate_line(group)) for group in found]
        else:
            rows.append((_RANKS[verdict], _folded_line(verdict, [one for group in found for one in group])))
    return rows


def _folded_line(verdict: Verdict, comparisons: Sequence[Comparison]) -> Line:
    """``only in A  3 workloads  124 candidates of flashinfer.decode, torch.sdpa``."""
    workloads = len({comparison.workload for comparison in comparisons})
    candidates = len({comparison.candidate for comparison in comparisons})
    backends = list(dict.fromkeys(comparison.candidate.partition("(")[0] for comparison in comparisons))
    named = ", ".join(backends[:_BACKENDS])
    if len(backends) > _BACKENDS:
        named += f" and {plural(len(backends) - _BACKENDS, 'more backend')}"
    where = comparisons[0].place if workloads == 1 else f"{workloads} workloads"
    return Line(verdict, where, f"{plural(candidates, 'candidate')} of {named}", note="--all lists them")


def _rank(comparison: Comparison) -> int:
    if comparison.verdict == Verdict.STATUS:
        return 0 if Reason.STATUS_WORSE in comparison.decision.reasons else 4
    return _RANKS.get(comparison.verdict, 9)


def _choice_rank(choice: ChoiceComparison) -> int:
    return {ChoiceVerdict.CHANGED: 2, ChoiceVerdict.TIED: 8}.get(choice.decision.verdict, 10)


def _candidate_line(group: Sequence[Comparison]) -> Line:
    first, decision = group[0], group[0].decision
    label = first.label + _role(first)
    place = first.place if len(group) == 1 else f"{len(group)} workloads"
    if first.verdict == Verdict.STATUS:
        note = first.detail or ""
        if len(group) > 1 and note:
            note = f"such as {first.place}: {note}"
        change_text = f"{plain_word(first.status_a)} -> {plain_word(first.status_b)}"
        return Line("status", place, label, "", change_text, note)
    if first.verdict in (Verdict.ONLY_A, Verdict.ONLY_B):
        status = first.status_a or first.status_b
        return Line(first.verdict, place, label, "", plain_word(status), first.detail or "")
    times = _times(first)
    reasons = [_SHORT[reason] for reason in decision.reasons if reason in _SHORT]
    note = p_value(decision.p) if decision.p is not None and _is_change(first) else ", ".join(reasons)
    if first.verdict == Verdict.ELIMINATED or (Reason.ROUGH in decision.reasons and first.detail):
        note = first.detail or note
    return Line(first.verdict, place, label, times, change(decision.ratio, decision.interval), note)


def _times(comparison: Comparison) -> str:
    """``37.42 -> 39.90 us``; rough ones as ``~413.0``, where there are no others."""
    shown = [
        microseconds(us) if us else f"~{microseconds(rough)}" if rough else "-"
        for us, rough in ((comparison.a_us, comparison.a_rough_us), (comparison.b_us, comparison.b_rough_us))
    ]
    return "" if shown == ["-", "-"] else f"{shown[0]} -> {shown[1]} us"


def _is_change(comparison: Comparison) -> bool:
    return comparison.verdict in (Verdict.SLOWER, Verdict.FASTER)


def _choice_line(choice: ChoiceComparison) -> Line:
    decision = choice.decision
    if not _is_news(choice):
        return Line("choice", choice.place, choice.label_b or "none", note=decision.verdict)
    what = f"{choice.label_a or 'none'} -> {choice.label_b or 'none'}"
    notes = [_CHOICE[reason] for reason in decision.reasons if reason in _CHOICE]
    if decision.verdict == ChoiceVerdict.CHANGED and decision.gain is not None:
        verb = "gains" if decision.gain >= 1.0 else "costs"
        notes.insert(0, f"{verb} {percent_change(max(decision.gain, 1.0 / decision.gain)).lstrip('+')} in B")
    times = f"{microseconds(choice.a_us)} -> {microseconds(choice.b_us)} us" if choice.a_us and choice.b_us else ""
    ratio = change(choice.ratio, choice.interval) if decision.verdict == ChoiceVerdict.CHANGED else ""
    word = "CHOICE" if decision.verdict == ChoiceVerdict.CHANGED else "choice"
    return Line(word, choice.place, what, times, ratio, "; ".join(notes))


def _important(comparison: Comparison) -> bool:
    """Of the rest a count says enough: no change, out before the race, or unclear only because it dropped out at once,
    and nobody's choice."""
    if comparison.verdict != Verdict.AMBIGUOUS:
        if comparison.verdict == Verdict.ELIMINATED:
            return bool(comparison.chosen) or comparison.default
        return comparison.verdict not in (Verdict.SAME, Verdict.NOT_TIMED)
    if comparison.chosen or comparison.default:
        return True
    reasons = comparison.decision.reasons
    return Reason.BELOW_THRESHOLD not in reasons and Reason.FEW_ROUNDS not in reasons


def _is_news(choice: ChoiceComparison) -> bool:
    return choice.decision.verdict in (ChoiceVerdict.CHANGED, ChoiceVerdict.TIED)


def _role(comparison: Comparison) -> str:
    roles = [{"A": "chosen in A", "B": "chosen in B", "AB": "chosen"}[comparison.chosen]] if comparison.chosen else []
    roles += ["default"] if comparison.default else []
    return f" ({', '.join(roles)})" if roles else ""
