"""A comparison's sentences, for tables and markdown alike. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.choices import ChoiceVerdict
from autotune_cli.comparing.ground import Effect, GroundDifference
from autotune_cli.comparing.outcome import Outcome
from autotune_cli.comparing.records import Comparison, Kind, Mean, Report
from autotune_cli.comparing.verdicts import Verdict
from autotune_cli.render.diff_rows import plain_word
from autotune_cli.render.text import plural

# More values than this on one side of a difference are counted.
_VALUES = 3
_EFFECTS = {Effect.SHOWN: "", Effect.ALLOWED: " (allowed)", Effect.BLOCKS: " (not comparable)"}


def ground_lines(ground: Sequence[GroundDifference]) -> list[str]:
    """``driver 580.1 -> 580.2``, one field each."""
    return [f"{_field(item)} {_values(item.a)} -> {_values(item.b)}{_where(item)}" for item in ground]


def sides(report: Report) -> list[str]:
    """What A and B are, and what the numbers rest on."""
    named = []
    what = "choice" if report.kind == Kind.CHOICES else "workload"
    for name, side, sessions in (("A", report.a, report.sessions[0]), ("B", report.b, report.sessions[1])):
        files = [file.path for file in side.files]
        listed = ", ".join(files[:2]) + (f" and {len(files) - 2} more" if len(files) > 2 else "")
        repeated = f", {sessions} sessions" if sessions > 1 else ""
        # Of a side that couldn't be compared with one of the other kind nothing was counted.
        counted = f" ({plural(side.workloads, what)}{repeated})" if side.workloads or what == "workload" else ""
        named.append(f"{name}: {listed}{counted}")
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
        f"{report.count(verdict)} {plain_word(verdict)}"
        for verdict in (Verdict.SAME, Verdict.SLOWER, Verdict.FASTER, Verdict.AMBIGUOUS)
    ]
    shown += [
        f"{report.count(verdict)} {plain_word(verdict)}"
        for verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B, Verdict.ELIMINATED, Verdict.NOT_TIMED)
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


def _field(item: GroundDifference) -> str:
    return item.field.removeprefix("library ")


def _values(values: Sequence[str]) -> str:
    shown = " / ".join(values[:_VALUES]) + (f" / {len(values) - _VALUES} more" if len(values) > _VALUES else "")
    return shown or "none"


def _where(item: GroundDifference) -> str:
    return _EFFECTS[item.effect]
