"""Baselines as people read them: what the speed-ups are over, in words, and what each comes to in all."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.measure.statistics import Ratio, geometric_mean
from autotune_cli.render.text import microseconds, plural
from autotune_cli.results.schema import MEASURED, BaselineResult, WorkloadResult


def names(results: Sequence[WorkloadResult]) -> list[str]:
    """Names of all baselines, the defaults first."""
    firsts = [result.baselines[0].name for result in results if result.baselines]
    return list(dict.fromkeys([*firsts, *(each.name for result in results for each in result.baselines)]))


def cell(result: WorkloadResult, name: str | None) -> str:
    """The baseline's time, or in a word why there is none."""
    baseline = result.baseline(name)
    if baseline is None:
        return "-"
    found = [candidate for candidate in result.candidates if candidate.key == baseline.candidate]
    if not found:
        return "missing"
    candidate = result.timed(found[0])
    if candidate.status in MEASURED:
        return microseconds(candidate.median_us)
    return {"incorrect": "wrong", "unavailable": "missing"}.get(candidate.status, candidate.status.replace("_", " "))


def words(results: Sequence[WorkloadResult], name: str) -> str:
    """``sglang 0.5.23 (newest known here): fa3`` or, with options, ``sglang 0.5.23 --attention-backend flashinfer``."""
    found = [baseline for result in results if (baseline := result.baseline(name)) is not None]
    first = found[0]
    # Variables may stand before the engine.
    typed = name.split(" ")
    behind = typed.index(first.engine) + 1 if first.engine in typed else 1
    text, options = " ".join(typed[:behind]), " ".join(typed[behind:])
    if first.version is not None:
        text += f" {first.version}"
    if options:
        text += f" {options}"
    if first.engine and first.version_from != "installed":
        text += f" ({_source(first)})"
    backends = list(dict.fromkeys(baseline.backend for baseline in found if baseline.backend is not None))
    if backends and not options:
        text += f": {', '.join(backends)}"
    stand_ins = dict.fromkeys(baseline.stand_in for baseline in found if baseline.stand_in is not None)
    if stand_ins:
        text += f" (in its kernels' place: {', '.join(stand_ins)})"
    return text


def lines(results: Sequence[WorkloadResult], column: str | None) -> list[str]:
    """Above the table: what its speed-ups are over, what else was measured, what is missing and why."""
    known = names(results)
    if column is not None and column not in known:
        return [f"{column}: changes nothing of these workloads, so there is no such baseline", *lines(results, None)]
    # Two families of workloads may have two defaults.
    firsts = list(dict.fromkeys(result.baselines[0].name for result in results if result.baselines))
    shown = firsts if column is None else [name for name in known if name == column]
    found = [f"speed-up over {'; '.join(words(results, name) for name in shown)}"] if shown else []
    beside = [name for name in known if name not in shown and _measured(results, name)]
    if beside:
        found.append(f"also measured: {'; '.join(words(results, name) for name in beside)}")
    return found + [line for name in known for line in _missing(results, name)]


def mean_over(results: Sequence[WorkloadResult], name: str) -> tuple[Ratio | None, int]:
    """Geometric mean of the winners' speed-ups over a baseline, and over how many workloads."""
    ratios = [
        baseline.speedup
        for result in results
        if (baseline := result.baseline(name)) is not None and baseline.speedup is not None
    ]
    return geometric_mean(ratios), len(ratios)


def totals(results: Sequence[WorkloadResult]) -> list[str]:
    """A line a baseline that was measured: ``1.09x (1.05 .. 1.13) over sglang 0.5.23``."""
    found = []
    for name in names(results):
        mean, count = mean_over(results, name)
        if mean is None:
            continue
        spread = f" ({mean.low:.2f} .. {mean.high:.2f})" if count > 1 else ""
        where = "" if count == len(results) else f", {plural(count, 'workload')}"
        found.append(f"{mean.value:.2f}x{spread} over {words(results, name)}{where}")
    return found


def _source(baseline: BaselineResult) -> str:
    if baseline.version_from == "not recorded":
        return "version not recorded"
    return "newest known" if baseline.version is not None else "version not known"


def _measured(results: Sequence[WorkloadResult], name: str) -> bool:
    return any(baseline.missing is None for result in results if (baseline := result.baseline(name)) is not None)


def _missing(results: Sequence[WorkloadResult], name: str) -> list[str]:
    """Why a baseline was not measured, a line for each reason; wrong ones are told in red elsewhere."""
    reasons: dict[str, int] = {}
    for result in results:
        baseline = result.baseline(name)
        if baseline is not None and baseline.missing is not None and not baseline.missing.startswith("incorrect"):
            reasons[baseline.missing] = reasons.get(baseline.missing, 0) + 1
    total = sum(result.baseline(name) is not None for result in results)
    where = {reason: "" if count == total else f" in {plural(count, 'workload')}" for reason, count in reasons.items()}
    return [f"missing: {name}{where[reason]}: {reason}" for reason in reasons]
