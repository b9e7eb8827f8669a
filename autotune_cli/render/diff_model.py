"""What is printed of a comparison: one model, from which the table, markdown, JSON, CSV and the plot are made.

Everything here is text, number and tone. Widths, colours, escapes and limits are the renderers'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autotune_cli.comparing.environment import Effect, EnvironmentDifference
from autotune_cli.comparing.exit_status import ExitStatus, counts
from autotune_cli.comparing.records import Comparison, Mean, Report, ReportKind
from autotune_cli.comparing.verdicts import ChangeVerdict, ChoiceVerdict, Counted, Tone
from autotune_cli.render.diff_rows import DiffRow, rows_of
from autotune_cli.render.diff_words import change, plain_word
from autotune_cli.render.text import plural

# More values than this on one side of a difference are counted.
_VALUES = 3
_EFFECTS = {Effect.SHOWN: "", Effect.ALLOWED: " (allowed)", Effect.BLOCKS: " (not comparable)"}


@dataclass(frozen=True)
class Sentence:
    """A line of text."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class MeanWords:
    """A geometric mean in words."""

    operation: str
    value: str
    """``0.998 (0.996 .. 1.001)``."""
    of: str
    """``6 candidates of 3 workloads``."""


@dataclass(frozen=True)
class DiffModel:
    """A report with its exit status, as it is printed."""

    report: Report
    status: ExitStatus
    every: bool = False
    """All rows, each candidate on one of its own."""

    @cached_property
    def environment(self) -> list[Sentence]:
        """One sentence a field that differs."""
        differences = self.report.environment
        return [
            Sentence(text, Tone.FAILED if item.effect == Effect.BLOCKS else Tone.UNCLEAR)
            for item, text in zip(differences, environment_lines(differences), strict=True)
        ]

    @property
    def sides(self) -> list[str]:
        """What A and B are."""
        report = self.report
        named = []
        what = "choice" if report.kind == ReportKind.CHOICES else "workload"
        for name, side, sessions in (("A", report.a, report.sessions[0]), ("B", report.b, report.sessions[1])):
            files = [file.path for file in side.files]
            listed = ", ".join(files[:2]) + (f" and {len(files) - 2} more" if len(files) > 2 else "")
            repeated = f", {sessions} sessions" if sessions > 1 else ""
            # Nothing was counted of a side that couldn't be compared with one of the other kind.
            counted = f" ({plural(side.workloads, what)}{repeated})" if side.workloads or what == "workload" else ""
            named.append(f"{name}: {listed}{counted}")
        return named

    @property
    def basis(self) -> str | None:
        """How far the numbers can be trusted; None: nothing was compared."""
        if self.report.refusal is not None:
            return None
        if self.report.kind == ReportKind.CHOICES:
            return "choices only: these files hold no times"
        if self.report.kind == ReportKind.SINGLE:
            return (
                "one session a side: intervals rest on its rounds and on a typical spread between sessions; "
                "several files a side show a small change"
            )
        mixed = " where there are several, one session a side elsewhere" if self.report.kind == ReportKind.MIXED else ""
        return f"repeated sessions: intervals rest on their spread and on a typical one between sessions{mixed}"

    @cached_property
    def rows(self) -> list[DiffRow]:
        """The most important first."""
        return rows_of(self.report, self.every)

    @property
    def only(self) -> list[tuple[str, Sequence[str]]]:
        """``A`` and the workloads that only A has, and the same of B; without those that have none."""
        return [(name, only) for name, only in (("A", self.report.only_a), ("B", self.report.only_b)) if only]

    @property
    def totals(self) -> str:
        """``118 same, 1 slower, 2 faster, 1 ambiguous``."""
        return totals(self.report)

    @property
    def choice_totals(self) -> str | None:
        """``choices: 17 unchanged, 2 changed within the ties, 1 changed``; None where the totals are of choices."""
        if not self.report.comparisons:
            return None
        numbers = _choice_counts(self.report)
        return "choices: " + ", ".join(f"{numbers[each]} {each}" for each in ChoiceVerdict if numbers[each])

    @property
    def means(self) -> list[MeanWords]:
        return [
            MeanWords(mean.operation or "in all", f"{mean.value:.3f} ({mean.low:.3f} .. {mean.high:.3f})", _of(mean))
            for mean in self.report.means
        ]

    @property
    def extremes(self) -> list[str]:
        """The rows with the largest and the smallest ratio; nothing with fewer than two."""
        with_ratio = [(row.decision.ratio, row) for row in self.report.comparisons if row.decision.ratio is not None]
        if len(with_ratio) < 2:
            return []
        # The first of several with an equal ratio, as the most important come first.
        worst = max(with_ratio, key=lambda pair: pair[0])[1]
        best = min(with_ratio, key=lambda pair: pair[0])[1]
        return [
            f"{name}: {change(of.decision.ratio, of.decision.interval)} {of.workload_label} {of.label}, {of.verdict}"
            for name, of in (("worst", worst), ("best", best))
        ]

    @property
    def exit_text(self) -> str:
        """``exit 1: 1 slower``."""
        return f"exit {self.status.exit_code}: {self.status.words}"

    @property
    def timed(self) -> list[Comparison]:
        """The candidates whose ratio has an interval, the most important first: what can be drawn."""
        return [comparison for comparison in self.report.comparisons if comparison.decision.interval is not None]

    @property
    def legend(self) -> list[tuple[ChangeVerdict, int]]:
        """The verdicts that a picture of the ratios explains, with how many candidates have each."""
        drawn = {comparison.verdict for comparison in self.timed}
        named = [each for each in ChangeVerdict if each in drawn or each.row.counted is Counted.ALWAYS]
        return [(each, self.report.count(each)) for each in sorted(named, key=lambda each: each.row.rank)]

    @property
    def counts(self) -> dict[str, object]:
        """How many changes each word of ``--fail-on`` stands for, how many candidates have each verdict, and how many
        workloads were compared."""
        failures = {str(each): number for each, number in counts(self.report).items()}
        verdicts = {str(verdict): number for verdict, number in self.report.verdicts.items()}
        return failures | {"verdicts": verdicts, "workloads": self.report.comparable}


def environment_lines(environment: Sequence[EnvironmentDifference]) -> list[str]:
    """``driver 580.1 -> 580.2``, one field each."""
    return [
        f"{item.field.removeprefix('library ')} {_values(item.a)} -> {_values(item.b)}{_EFFECTS[item.effect]}"
        for item in environment
    ]


def totals(report: Report) -> str:
    """``118 same, 1 slower, 2 faster, 1 ambiguous``: of candidates, or of choices where there are no times."""
    if report.kind == ReportKind.CHOICES:
        numbers = _choice_counts(report)
        parts = [
            f"{numbers[each]}{' choices' if each is ChoiceVerdict.UNCHANGED else ''} {each}"
            for each in ChoiceVerdict
            if numbers[each] or each.row.counted is Counted.ALWAYS
        ]
        parts += [f"{len(only)} only in {name}" for name, only in (("A", report.only_a), ("B", report.only_b)) if only]
        return ", ".join(parts)
    return ", ".join(
        f"{report.count(each)} {plain_word(each)}"
        for each in ChangeVerdict
        if report.count(each) or each.row.counted is Counted.ALWAYS
    )


def _choice_counts(report: Report) -> Counter[ChoiceVerdict]:
    return Counter(choice.decision.verdict for choice in report.choices)


def _of(mean: Mean) -> str:
    what = plural(mean.ratios, "candidate") if mean.of == "candidates" else "the chosen kernels"
    return f"{what} of {plural(mean.workloads, 'workload')}"


def _values(values: Sequence[str]) -> str:
    shown = " / ".join(values[:_VALUES]) + (f" / {len(values) - _VALUES} more" if len(values) > _VALUES else "")
    return shown or "none"
