"""The geometric means of a report: ratios of times with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.records import ChoiceComparison, Comparison, Mean
from autotune_cli.comparing.statistics import ratio_of
from autotune_cli.measure import student


class LogRatio(NamedTuple):
    """One comparison."""

    workload: str
    value: float
    """log(B / A)."""
    half: float
    """Half the width of its interval."""


def means_of(comparisons: Sequence[Comparison], choices: Sequence[ChoiceComparison], rule: DecisionRule) -> list[Mean]:
    """Of the candidates and of the winners: one mean in all, and one an operation where there are several."""
    rows: dict[str, list[tuple[str, LogRatio]]] = {"candidates": [], "chosen": []}
    for comparison in comparisons:
        decision = comparison.decision
        if decision.ratio is not None and decision.interval is not None:
            ratio = _log(comparison.workload, decision.ratio, decision.interval)
            rows["candidates"].append((comparison.operation, ratio))
    for choice in choices:
        if choice.ratio is not None and choice.interval is not None:
            rows["chosen"].append((choice.operation, _log(choice.workload, choice.ratio, choice.interval)))
    means = []
    for of, found in rows.items():
        operations = list(dict.fromkeys(operation for operation, _ in found))
        for operation in [*([None] if operations else []), *(operations if len(operations) > 1 else [])]:
            ratios = [ratio for name, ratio in found if operation in (None, name)]
            mean = log_mean(ratios, rule.coverage)
            if mean is not None:
                value, low, high = (ratio_of(number) for number in mean)
                workloads = len({ratio.workload for ratio in ratios})
                means.append(Mean(of, operation, value, low, high, workloads, len(ratios)))
    return means


def log_mean(ratios: Sequence[LogRatio], coverage: float) -> tuple[float, float, float] | None:
    """Mean of the logarithms with its interval, and None without any.

    Candidates of a workload were measured together, so the workload is the unit: the interval is Student's over the
    workloads' means, and at least what the comparisons' own intervals add up to.
    """
    if not ratios:
        return None
    groups: dict[str, list[LogRatio]] = {}
    for ratio in ratios:
        groups.setdefault(ratio.workload, []).append(ratio)
    centers = [math.fsum(ratio.value for ratio in group) / len(group) for group in groups.values()]
    halves = [math.fsum(ratio.half for ratio in group) / len(group) for group in groups.values()]
    n = len(centers)
    mean = math.fsum(centers) / n
    half = math.sqrt(math.fsum(h * h for h in halves)) / n
    if n > 1:
        spread = math.sqrt(math.fsum((center - mean) ** 2 for center in centers) / (n - 1))
        half = max(half, student.quantile(coverage, n - 1) * spread / math.sqrt(n))
    return mean, mean - half, mean + half


def _log(workload: str, ratio: float, interval: tuple[float, float]) -> LogRatio:
    return LogRatio(workload, math.log(ratio), 0.5 * math.log(interval[1] / interval[0]))
