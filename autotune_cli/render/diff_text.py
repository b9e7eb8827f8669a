"""A comparison's rows and sentences, for tables and markdown alike. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.comparing.choices import ChoiceReason, ChoiceVerdict
from autotune_cli.comparing.ground import Effect, GroundDifference
from autotune_cli.comparing.outcome import Outcome
from autotune_cli.comparing.records import ChoiceComparison, Comparison, Kind, Mean, Report
from autotune_cli.comparing.verdicts import Reason, Verdict
from autotune_cli.render.text import microseconds, plural

# More values than this on one side of a difference are counted.
_VALUES = 3
_EFFECTS = {Effect.SHOWN: "", Effect.ALLOWED: " (allowed)", Effect.BLOCKS: " (not comparable)"}
# A candidate that is in one side only, or whose status changed, in more workloads than this is one row.
_EACH = 2
_SHORT = {
    Reason.NOT_SIGNIFICANT: "not significant",
    Reason.SIGNIFICANT: "significant",
    Reason.WIDE_INTERVAL: "too wide an interval",
    Reason.BELOW_THRESHOLD: "small",
    Reason.FEW_ROUNDS: "few rounds",
    Reason.ROUNDS_DROPPED: "throttled rounds",
    Reason.CLOCK_DIFFERS: "the clock explains it",
    Reason.SAME_MEASUREMENT: "the same measurement",
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
    important: bool = True
    """False: folded into a count unless everything is asked for."""


def lines(report: Report, every: bool = False) -> list[Line]:
    """The rows, the most important first: what got worse, choices, what got better, what is unclear, what is new."""
    rows = [(_rank(c.verdict, c), [c]) for c in report.comparisons]
    grouped = rows if every else _grouped(report.comparisons)
    found = [(rank, index, _candidate_line(group)) for index, (rank, group) in enumerate(grouped)]
    for index, choice in enumerate(report.choices):
        found.append((_choice_rank(choice), index, _choice_line(choice, report.kind)))
    return [line for _, _, line in sorted(found, key=lambda item: item[:2]) if every or line.important]


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


def ground_lines(ground: Sequence[GroundDifference]) -> list[str]:
    """``driver 580.1 -> 580.2``, one field each."""
    return [f"{_field(item)} {_values(item.a)} -> {_values(item.b)}{_where(item)}" for item in ground]


def sides(report: Report) -> list[str]:
    """What A and B are, and what the numbers rest on."""
    named = []
    for name, side, sessions in (("A", report.a, report.sessions[0]), ("B", report.b, report.sessions[1])):
        files = [file.path for file in side.files]
        listed = ", ".join(files[:2]) + (f" and {len(files) - 2} more" if len(files) > 2 else "")
        repeated = f", {sessions} sessions" if sessions > 1 else ""
        named.append(f"{name}: {listed} ({plural(side.workloads, 'workload')}{repeated})")
    return named


def basis(report: Report) -> str:
    """How far the numbers can be trusted."""
    if report.kind == Kind.CHOICES:
        return "choices only: these files hold no times"
    if report.kind == Kind.SINGLE:
        return (
            "one session a side: intervals rest on its rounds and on a typical spread between sessions; "
            "several files a side show a small change"
        )
    mixed = " where there are several, one session a side elsewhere" if report.kind == Kind.MIXED else ""
    return f"repeated sessions: intervals rest on their spread and on a typical one between sessions{mixed}"


def totals(report: Report) -> str:
    """``118 same, 1 slower, 2 faster, 1 ambiguous``."""
    if report.kind == Kind.CHOICES:
        numbers = dict.fromkeys(ChoiceVerdict, 0)
        for choice in report.choices:
            numbers[choice.decision.verdict] += 1
        parts = [f"{numbers[ChoiceVerdict.UNCHANGED]} choices unchanged", f"{numbers[ChoiceVerdict.CHANGED]} changed"]
        parts += [f"{len(only)} only in {name}" for name, only in (("A", report.only_a), ("B", report.only_b)) if only]
        return ", ".join(parts)
    shown = [
        f"{report.count(verdict)} {_plain(verdict)}"
        for verdict in (Verdict.SAME, Verdict.SLOWER, Verdict.FASTER, Verdict.AMBIGUOUS)
    ]
    shown += [
        f"{report.count(verdict)} {_plain(verdict)}"
        for verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B, Verdict.NOT_TIMED)
        if report.count(verdict)
    ]
    return ", ".join(shown)


def choice_totals(report: Report) -> str:
    """``choices: 17 unchanged, 2 changed within the ties, 1 changed``."""
    numbers: dict[str, int] = {}
    for choice in report.choices:
        numbers[choice.decision.verdict] = numbers.get(choice.decision.verdict, 0) + 1
    return "choices: " + ", ".join(f"{numbers[verdict]} {verdict}" for verdict in ChoiceVerdict if verdict in numbers)


def mean_text(mean: Mean) -> str:
    """``0.998 (0.996 .. 1.001)``."""
    return f"{mean.value:.3f} ({mean.low:.3f} .. {mean.high:.3f})"


def mean_of(mean: Mean) -> str:
    """What a mean is of."""
    what = plural(mean.ratios, "candidate") if mean.of == "candidates" else "the chosen kernels"
    return f"{what} of {plural(mean.workloads, 'workload')}"


def extremes(report: Report) -> tuple[Comparison, Comparison] | None:
    """The rows with the largest and the smallest ratio; None with fewer than two."""
    timed = [comparison for comparison in report.comparisons if comparison.decision.ratio is not None]
    if len(timed) < 2:
        return None

    def ratio(comparison: Comparison) -> float:
        return comparison.decision.ratio or 1.0

    return max(timed, key=ratio), min(timed, key=ratio)


def exit_text(result: Outcome) -> str:
    """``exit 1: 1 slower``."""
    return f"exit {result.exit_code}: {result.words}"


def _grouped(comparisons: Sequence[Comparison]) -> list[tuple[int, list[Comparison]]]:
    """Presence and status of a candidate in many workloads as one row."""
    groups: dict[object, list[Comparison]] = {}
    for index, comparison in enumerate(comparisons):
        key: object = index
        if comparison.verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B):
            key = (comparison.verdict, comparison.candidate, comparison.status_a, comparison.status_b)
        groups.setdefault(key, []).append(comparison)
    found = []
    for group in groups.values():
        parts = [group] if len(group) > _EACH else [[comparison] for comparison in group]
        found += [(_rank(part[0].verdict, part[0]), part) for part in parts]
    return found


def _rank(verdict: Verdict, comparison: Comparison) -> int:
    if verdict == Verdict.STATUS:
        return 0 if Reason.STATUS_WORSE in comparison.decision.reasons else 4
    order = {Verdict.SLOWER: 1, Verdict.FASTER: 3, Verdict.AMBIGUOUS: 5, Verdict.ONLY_B: 6, Verdict.ONLY_A: 7}
    return order.get(verdict, 9)


def _choice_rank(choice: ChoiceComparison) -> int:
    return {ChoiceVerdict.CHANGED: 2, ChoiceVerdict.TIED: 8}.get(choice.decision.verdict, 10)


def _candidate_line(group: Sequence[Comparison]) -> Line:
    first, decision = group[0], group[0].decision
    important = first.verdict not in (Verdict.SAME, Verdict.NOT_TIMED) and not _minor(first)
    label = first.label + _role(first)
    place = first.place if len(group) == 1 else f"{len(group)} workloads"
    if first.verdict == Verdict.STATUS:
        note = first.detail or ""
        if len(group) > 1 and note:
            note = f"such as {first.place}: {note}"
        change_text = f"{_plain(first.status_a)} -> {_plain(first.status_b)}"
        return Line("status", place, label, "", change_text, note)
    if first.verdict in (Verdict.ONLY_A, Verdict.ONLY_B):
        status = first.status_a or first.status_b
        return Line(first.verdict, place, label, "", _plain(status), first.detail or "")
    times = f"{microseconds(first.a_us)} -> {microseconds(first.b_us)} us" if first.a_us or first.b_us else ""
    reasons = [_SHORT[reason] for reason in decision.reasons if reason in _SHORT]
    note = p_value(decision.p) if decision.verdict in (Verdict.SLOWER, Verdict.FASTER) else ", ".join(reasons)
    return Line(first.verdict, place, label, times, change(decision.ratio, decision.interval), note, important)


def _choice_line(choice: ChoiceComparison, kind: Kind) -> Line:
    decision = choice.decision
    important = decision.verdict in (ChoiceVerdict.CHANGED, ChoiceVerdict.TIED)
    if not important:
        return Line("choice", choice.place, choice.label_b or "none", note=decision.verdict, important=False)
    what = f"{choice.label_a or 'none'} -> {choice.label_b or 'none'}"
    notes = [_CHOICE[reason] for reason in decision.reasons if reason in _CHOICE]
    if decision.verdict == ChoiceVerdict.CHANGED and decision.gain is not None:
        verb = "gains" if decision.gain >= 1.0 else "costs"
        notes.insert(0, f"{verb} {percent_change(max(decision.gain, 1.0 / decision.gain)).lstrip('+')} in B")
    times = f"{microseconds(choice.a_us)} -> {microseconds(choice.b_us)} us" if choice.a_us and choice.b_us else ""
    ratio = change(choice.ratio, choice.interval) if decision.verdict == ChoiceVerdict.CHANGED else ""
    word = "CHOICE" if decision.verdict == ChoiceVerdict.CHANGED else "choice"
    return Line(word, choice.place, what, times, ratio, "; ".join(notes))


def _minor(comparison: Comparison) -> bool:
    """Unclear only because it dropped out of the race at once, and nobody's choice: a count says enough."""
    if comparison.verdict != Verdict.AMBIGUOUS or comparison.chosen or comparison.default:
        return False
    reasons = comparison.decision.reasons
    return Reason.BELOW_THRESHOLD in reasons or Reason.FEW_ROUNDS in reasons


def _role(comparison: Comparison) -> str:
    roles = [{"A": "chosen in A", "B": "chosen in B", "AB": "chosen"}[comparison.chosen]] if comparison.chosen else []
    roles += ["default"] if comparison.default else []
    return f" ({', '.join(roles)})" if roles else ""


def _plain(word: str | None) -> str:
    return "" if word is None else word.replace("_", " ")


def _field(item: GroundDifference) -> str:
    return item.field.removeprefix("library ")


def _values(values: Sequence[str]) -> str:
    shown = " / ".join(values[:_VALUES]) + (f" / {len(values) - _VALUES} more" if len(values) > _VALUES else "")
    return shown or "none"


def _where(item: GroundDifference) -> str:
    return _EFFECTS[item.effect]
