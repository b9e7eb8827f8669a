"""Is the change there? Plain functions over pairs of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.comparing.statistics import log_spread
from autotune_cli.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_NOT_COMPARABLE, EXIT_OK
from autotune_cli.measure.statistics import Ratio, median, paired_ratio
from autotune_cli.verifying.measuring import Measured, Pair, Sample

# Lengths that differ by more than this between the servers make one do more work than the other.
_SAME_WORK = 0.02


class Metric(StrEnum):
    """What is measured of a server."""

    words: str
    unit: str
    more_is_better: bool

    def __new__(cls, name: str, words: str, unit: str, more_is_better: bool) -> Metric:
        member = str.__new__(cls, name)
        member._value_ = name
        member.words, member.unit, member.more_is_better = words, unit, more_is_better
        return member

    TTFT = "ttft", "time to first token", "ms", False
    ITL = "itl", "time between tokens", "ms", False
    THROUGHPUT = "throughput", "throughput", "tokens/s", True

    def of(self, sample: Sample) -> float | None:
        """Its value in its unit; None: it can't be told."""
        value = _VALUES[self](sample)
        # A server can't be that fast: a clock that stood still.
        return value if value is not None and 0.0 < value < math.inf else None


def metric_of(name: str) -> Metric:
    """The metric of that name, one of them."""
    return next(metric for metric in Metric if metric == name)


_VALUES: dict[Metric, Callable[[Sample], float | None]] = {
    Metric.TTFT: lambda sample: 1e3 * sample.ttft_s,
    Metric.ITL: lambda sample: None if sample.itl_s is None else 1e3 * sample.itl_s,
    Metric.THROUGHPUT: lambda sample: sample.tokens_per_s,
}


class VerifyVerdict(StrEnum):
    """Of one metric; documented in docs/verify.md."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Change:
    """One metric on both servers."""

    metric: Metric
    base: float | None
    """Median over pairs, in the metric's unit."""
    new: float | None
    base_spread: float
    """Relative standard deviation over pairs: the noise of one measurement."""
    new_spread: float
    ratio: Ratio | None
    """New over base in the same pairs, with an interval that holds at 99 % for all metrics together; None: no pair."""
    verdict: VerifyVerdict

    @property
    def improvement(self) -> Ratio | None:
        """By what share the new server is better: less time, more tokens."""
        if self.ratio is None:
            return None
        if self.metric.more_is_better:
            return Ratio(*(end - 1.0 for end in self.ratio))
        return Ratio(1.0 - self.ratio.value, 1.0 - self.ratio.high, 1.0 - self.ratio.low)


@dataclass(frozen=True)
class Expectation:
    """A change that was promised."""

    metric: Metric
    share: float
    """Of less time or more tokens."""


class Kept(StrEnum):
    """What became of a promise."""

    CONFIRMED = "confirmed"
    """There is an improvement, and it may well be as large as that."""
    REFUTED = "refuted"
    """It is smaller, if there is one."""
    UNDECIDED = "undecided"
    """The interval holds both no change and the promised one."""


@dataclass(frozen=True)
class Verification:
    """All that is said of the new server against the base."""

    measured: Measured
    changes: tuple[Change, ...]
    threshold: float
    expectation: Expectation | None
    kept: Kept | None
    """None: nothing was promised, or nothing was measured."""
    notes: tuple[str, ...]

    def change(self, metric: Metric) -> Change:
        return next(change for change in self.changes if change.metric is metric)

    @property
    def exit_code(self) -> int:
        if self.measured.interrupted:
            return EXIT_INTERRUPTED
        if self.measured.failure is not None:
            return EXIT_INCOMPLETE
        if self.kept is Kept.REFUTED or any(change.verdict is VerifyVerdict.WORSE for change in self.changes):
            return EXIT_FAILED
        return EXIT_NOT_COMPARABLE if self.kept is Kept.UNDECIDED else EXIT_OK

    @property
    def words(self) -> str:
        """What the exit code means here."""
        done, wanted = len(self.measured.pairs), self.measured.plan.pairs
        if self.measured.interrupted:
            return f"interrupted after {done} of {wanted} pairs"
        if self.measured.failure is not None:
            return f"cut short after {done} of {wanted} pairs: {self.measured.failure}"
        worse = [change.metric.words for change in self.changes if change.verdict is VerifyVerdict.WORSE]
        said = [f"worse: {', '.join(worse)}"] if worse else []
        if self.expectation is not None:
            promised = f"{self.expectation.metric.words} {100 * self.expectation.share:g} % better"
            said.insert(0, f"{promised}: {self.kept or Kept.UNDECIDED}")
        better = [change.metric.words for change in self.changes if change.verdict is VerifyVerdict.BETTER]
        if better:
            said.append(f"better: {', '.join(better)}")
        return "; ".join(said) or "no change beyond the noise"


def verify(measured: Measured, threshold: float = 0.01, expectation: Expectation | None = None) -> Verification:
    """Judge what was measured.

    Args:
        threshold: a share; a smaller change is no news.
    """
    changes = tuple(_change(metric, measured.pairs, threshold) for metric in Metric)
    kept = None
    if expectation is not None:
        kept = _kept(next(change for change in changes if change.metric is expectation.metric), expectation)
    return Verification(measured, changes, threshold, expectation, kept, tuple(_notes(measured)))


def _change(metric: Metric, pairs: Sequence[Pair], threshold: float) -> Change:
    base = {pair.number: value for pair in pairs if (value := metric.of(pair.base)) is not None}
    new = {pair.number: value for pair in pairs if (value := metric.of(pair.new)) is not None}
    ratio = paired_ratio(new, base, comparisons=len(Metric))
    return Change(
        metric,
        median(list(base.values())) if base else None,
        median(list(new.values())) if new else None,
        log_spread(list(base.values())),
        log_spread(list(new.values())),
        ratio,
        _verdict(metric, ratio, threshold),
    )


def _verdict(metric: Metric, ratio: Ratio | None, threshold: float) -> VerifyVerdict:
    """A change is there if its interval leaves no change out and it isn't small; there is none if the whole interval is
    small.
    """
    if ratio is None:
        return VerifyVerdict.UNCLEAR
    if max(ratio.high - 1.0, 1.0 - ratio.low) < threshold:
        return VerifyVerdict.SAME
    if abs(ratio.value - 1.0) < threshold or ratio.low <= 1.0 <= ratio.high:
        return VerifyVerdict.UNCLEAR
    return VerifyVerdict.BETTER if (ratio.value > 1.0) == metric.more_is_better else VerifyVerdict.WORSE


def _kept(change: Change, expectation: Expectation) -> Kept:
    improvement = change.improvement
    if improvement is None:
        return Kept.UNDECIDED
    if improvement.high < expectation.share:
        return Kept.REFUTED
    return Kept.CONFIRMED if improvement.low > 0.0 else Kept.UNDECIDED


def _notes(measured: Measured) -> list[str]:
    notes = []
    models = measured.models
    if models["base"] != models["new"]:
        notes.append(f"base serves {models['base']}, new serves {models['new']}")
    wanted = float(measured.plan.output_tokens)
    lengths = [(sum(p.base.tokens for p in measured.pairs), sum(p.new.tokens for p in measured.pairs))]
    for base, new in lengths if measured.pairs else ():
        count = len(measured.pairs)
        if _differ(base, new):
            notes.append(f"base answers with {base / count:.4g} tokens, new with {new / count:.4g}: not the same work")
        elif base < (1.0 - _SAME_WORK) * wanted * count:
            notes.append(f"both answer with {base / count:.4g} of {wanted:g} tokens")
    prompts = [(p.base.prompt_tokens, p.new.prompt_tokens) for p in measured.pairs]
    known = [(base, new) for base, new in prompts if base is not None and new is not None]
    if known:
        base, new = (sum(each) / len(known) for each in zip(*known, strict=True))
        if _differ(base, new):
            notes.append(f"prompts have {base:.4g} tokens on base, {new:.4g} on new: not the same work")
    return notes


def _differ(base: float, new: float) -> bool:
    return abs(new - base) > _SAME_WORK * max(base, new)
