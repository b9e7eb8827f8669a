"""From what the worker and the race say to the records of the result file."""

from __future__ import annotations

from autotune_cli.measure.statistics import median, median_interval
from autotune_cli.results.schema import CandidateResult
from autotune_cli.tuning.messages import Planned, Vetted
from autotune_cli.tuning.race import Race


def planned_result(planned: Planned) -> CandidateResult:
    """A candidate that isn't measured here."""
    assert planned.status is not None
    return _record(planned, Vetted(planned.status, planned.reason), planned.fix)


def candidate_result(planned: Planned, vetted: Vetted) -> CandidateResult:
    """A candidate after its vetting."""
    return _record(planned, vetted, planned.fix)


def finished_candidate(result: CandidateResult, race: Race) -> CandidateResult:
    """The same with what the race measured."""
    times, points = race.times.get(result.key, {}), race.points.get(result.key, {})
    if not times:
        if result.status != "ok":
            return result
        return result.model_copy(
            update={"status": "eliminated", "reason": race.dropped.get(result.key, "the race ended before its turn")}
        )
    rounds = sorted(times)
    values = [times[number] for number in rounds]
    update: dict[str, object] = {
        "rounds": tuple(rounds),
        "rounds_us": tuple(values),
        "points_us": tuple(points[number] for number in rounds) if points else (),
        "median_us": median(values),
        # One round says nothing of how far others would lie.
        "interval_us": median_interval(values) if len(values) > 1 else None,
    }
    if result.status == "ok" and result.key in race.dropped:
        update |= {"status": "eliminated", "reason": race.dropped[result.key]}
    # model_copy doesn't validate; the file's validation would come too late to say which candidate it was.
    return CandidateResult.model_validate(result.model_copy(update=update).model_dump())


def _record(planned: Planned, vetted: Vetted, fix: str | None) -> CandidateResult:
    candidate = planned.candidate
    return CandidateResult(
        key=candidate.key,
        backend=candidate.backend,
        knobs=dict(candidate.knobs),
        label=candidate.label,
        default=planned.default,
        status=vetted.status,
        reason=vetted.reason,
        fix=fix,
        kernels=vetted.kernels,
        evidence=vetted.evidence,
        properties=vetted.properties,
        rough_us=vetted.rough_us,
        rough_points_us=vetted.points_us,
        host=vetted.host,
        build_s=vetted.build_s,
        frozen=vetted.frozen,
    )
