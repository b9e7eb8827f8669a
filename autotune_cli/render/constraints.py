"""What it costs that only kernels may win that keep what is required, in words."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.measure.statistics import Ratio, geometric_mean
from autotune_cli.render.text import batch_and_context, microseconds, operation, plural
from autotune_cli.results.schema import WorkloadResult


def constraint_lines(results: Sequence[WorkloadResult]) -> list[str]:
    """A line a workload that requires something: ``topk.select 16 x 65536: deterministic costs 12.3 % ...``."""
    return [line for result in results if (line := _line(result))]


def mean_costs(results: Sequence[WorkloadResult]) -> list[tuple[str, Ratio, int]]:
    """For each set of required properties its name, the geometric mean of what it costs, and of how many workloads."""
    ratios: dict[str, list[float]] = {}
    for result in results:
        if result.constraint is not None:
            ratios.setdefault(required_words(result), []).append(result.constraint.ratio)
    return [(name, mean, len(each)) for name, each in ratios.items() if (mean := geometric_mean(each)) is not None]


def cost_totals(results: Sequence[WorkloadResult]) -> list[str]:
    """``deterministic costs 1.08x (1.02 .. 1.15), 6 workloads``."""
    return [
        f"{name} costs {mean.value:.3f}x"
        + (f" ({mean.low:.3f} .. {mean.high:.3f}), {plural(count, 'workload')}" if count > 1 else "")
        for name, mean, count in mean_costs(results)
    ]


def required_words(result: WorkloadResult) -> str:
    """``deterministic, batch-invariant``; empty: nothing is required."""
    return ", ".join(result.required)


def _line(result: WorkloadResult) -> str:
    cost = result.constraint
    if cost is None:
        return ""
    where = f"{operation(result.workload)} {' x '.join(batch_and_context(result.workload))}"
    if cost.without == cost.best:
        return f"{where}: {required_words(result)} costs nothing: no other is faster"
    without = result.candidate(cost.without)
    interval = "" if cost.interval is None else f" ({_percent(cost.interval[0])} .. {_percent(cost.interval[1])})"
    return (
        f"{where}: {required_words(result)} costs {_percent(cost.ratio)} %{interval}; "
        f"without it {without.label}, {microseconds(without.median_us)} us, which is {without.broken}"
    )


def _percent(ratio: float) -> str:
    return f"{100.0 * (ratio - 1.0):+.1f}"
