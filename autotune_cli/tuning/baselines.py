"""What the baselines come to for one workload: which candidate stands for each, or why none does. Imports no torch."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from autotune_cli.kernels.engines import Baseline, Resolved, resolve, situation_of
from autotune_cli.kernels.engines.resolve import concerns
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, parse_key
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.statistics import paired_ratio
from autotune_cli.results.schema import MEASURED, BaselineResult, CandidateResult
from autotune_cli.tuning.messages import Planned, PlannedWorkload


def planned_baselines(
    workload: AnyWorkload,
    device: Device,
    baselines: Sequence[Baseline],
    model_type: str,
    planned: Sequence[Planned],
) -> tuple[tuple[BaselineResult, ...], list[Candidate]]:
    """The baselines of a workload, and candidates that they name beside the planned ones.

    The first baseline stays first even where it is missing: nothing takes its place.
    """
    by_key = {entry.candidate.key: entry for entry in planned}
    situation = situation_of(workload, device, model_type)
    found: list[BaselineResult] = []
    added: list[Candidate] = []
    for baseline in baselines:
        if not concerns(baseline, workload.operation):
            continue
        resolved = resolve(baseline, situation)
        key = resolved.candidate
        missing = resolved.missing
        if key is not None and key not in by_key:
            candidate = _named(key, workload.operation, planned)
            if candidate is None:
                key, missing = None, f"{resolved.candidate} is no candidate for {workload.operation} here"
            else:
                key = candidate.key
                if key not in by_key:
                    added.append(candidate)
        found.append(_result(resolved, key, missing))
    return tuple(found), added


def missing_everywhere(planned: Sequence[PlannedWorkload], names: Container[str | None]) -> Iterator[str]:
    """For people: which of these baselines can be measured in none of the workloads that they concern, each with why. A
    run that takes minutes says so first.
    """
    reasons: dict[str, list[str | None]] = {}
    for plan in planned:
        for baseline in plan.baselines:
            if baseline.name in names:
                reasons.setdefault(baseline.name, []).append(baseline.missing)
    for name, why in reasons.items():
        if None not in why:
            yield f"{name} can't be measured: {'; '.join(dict.fromkeys(filter(None, why)))}"


def with_status(baseline: BaselineResult, planned: Mapping[str, Planned]) -> BaselineResult:
    """The baseline with what is known before anything is measured."""
    entry = planned.get(baseline.candidate or "")
    if entry is None or entry.status is None:
        return baseline
    fix = f"; get it: {entry.fix}" if entry.fix else ""
    return baseline.model_copy(update={"missing": f"{entry.status}: {entry.reason}{fix}"})


def judged(
    baseline: BaselineResult,
    winner: str | None,
    results: Mapping[str, CandidateResult],
    times: Mapping[str, Mapping[int, float]],
) -> BaselineResult:
    """The baseline with what the winner gains over it; or why it was not measured."""
    key = baseline.candidate
    if key is None or baseline.missing is not None:
        return baseline
    # One that launches just what another candidate does has that one's times.
    key = results[key].same_as or key
    status = results[key].status
    if status not in MEASURED or winner is None or not times.get(key):
        if status not in MEASURED:
            baseline = baseline.model_copy(update={"missing": f"{status}: {results[key].reason}"})
        return baseline
    if key == winner:
        return baseline.model_copy(update={"speedup": 1.0, "speedup_interval": (1.0, 1.0)})
    ratio = paired_ratio(times[key], times[winner])
    if ratio is None or ratio.low <= 0.0:
        return baseline
    return baseline.model_copy(update={"speedup": ratio.value, "speedup_interval": (ratio.low, ratio.high)})


def _named(key: str, operation: str, planned: Sequence[Planned]) -> Candidate | None:
    """The candidate of that key; a backend's bare name stands for its first candidate."""
    backend, knobs = parse_key(key)
    if "(" not in key:
        return next((entry.candidate for entry in planned if entry.candidate.backend == backend), None)
    known = {entry.name for entry in REGISTRY.of(operation)}
    return Candidate(backend, knobs) if backend in known else None


def _result(resolved: Resolved, key: str | None, missing: str | None) -> BaselineResult:
    baseline = resolved.baseline
    return BaselineResult(
        name=baseline.name,
        engine=baseline.engine,
        version=baseline.version,
        version_from=baseline.version_from,
        backend=resolved.backend,
        candidate=key,
        missing=missing,
        source=resolved.source,
        stand_in=resolved.stand_in,
    )
