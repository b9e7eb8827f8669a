"""What has to be known of a run, in sentences: what was fast but wrong, and what can't be true."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.measure import floor
from autotune_cli.measure.noise import likely_cause, why_noisy
from autotune_cli.render.ceilings import above_floor_words
from autotune_cli.render.text import batch_and_context, microseconds, operation
from autotune_cli.results.schema import FAILED, CandidateResult, WorkloadResult

# Beyond this many workloads a candidate's failures are one line with an example; --all shows each.
_LISTED = 2


def warnings_of(results: Sequence[WorkloadResult]) -> list[str]:
    """What was fast but wrong, a default that must not run, a workload without a winner, a kernel that is faster than
    its floor, what the run itself warns of, times that are too noisy: the lines in red.
    """
    wrong: dict[str, list[tuple[WorkloadResult, CandidateResult]]] = {}
    lines = []
    for result in results:
        winner_us = result.candidate(result.choice.winner).median_us if result.choice else None
        for candidate in result.candidates:
            if candidate.status in FAILED and (candidate.default or _fast_but_wrong(candidate, winner_us)):
                wrong.setdefault(candidate.label, []).append((result, candidate))
        if result.choice is None:
            lines.append(f"{_where(result)}: no winner: {_why_no_winner(result)}")
    for label, cases in wrong.items():
        if len(cases) <= _LISTED:
            lines += [f"{_where(result)}: {_failure(candidate)}" for result, candidate in cases]
        else:
            lines.append(_many_failures(label, cases))
    lines += [f"{_where(result)}: {warning}" for result in results for warning in result.warnings]
    return [*lines, *_above_floor(results), *_too_noisy(results)]


def _too_noisy(results: Sequence[WorkloadResult]) -> list[str]:
    """Whose times can't be trusted, and what is likely to be the cause; of many workloads one line with an example."""
    noisy = [(result, why) for result in results if (why := why_noisy(result)) is not None]
    if len(noisy) <= _LISTED:
        return [f"{_where(result)}: too noisy: {why}; likely cause: {likely_cause(result)}" for result, why in noisy]
    result, why = max(noisy, key=lambda pair: pair[0].noise or 0.0)
    return [
        f"{len(noisy)} workloads are too noisy, such as {_where(result)}: {why}; likely cause: {likely_cause(result)}"
    ]


def _above_floor(results: Sequence[WorkloadResult]) -> list[str]:
    """Whose floor is none; of many workloads, the one that is furthest above."""
    above = [(result, candidates[0]) for result in results if (candidates := floor.above_floor(result))]
    if len(above) <= _LISTED:
        return [f"{_where(result)}: {above_floor_words(result, candidate)}" for result, candidate in above]
    result, candidate = max(above, key=lambda pair: floor.share_of_floor(*pair) or 0.0)
    furthest = f"{_where(result)}: {above_floor_words(result, candidate)}"
    return [f"{len(above)} workloads have kernels faster than their floor; the furthest, {furthest}"]


def _fast_but_wrong(candidate: CandidateResult, winner_us: float | None) -> bool:
    if candidate.status != "incorrect":
        return False
    return winner_us is None or (candidate.rough_us is not None and candidate.rough_us < winner_us)


def _failure(candidate: CandidateResult) -> str:
    role = "the default, " if candidate.default else ""
    time = (
        f" ({role}{microseconds(candidate.rough_us)} us)" if candidate.rough_us else f" ({role[:-2]})" if role else ""
    )
    return f"{candidate.label}{time} is {candidate.status.replace('_', ' ')}: {candidate.reason}"


def _many_failures(label: str, cases: Sequence[tuple[WorkloadResult, CandidateResult]]) -> str:
    """One line for a candidate that fails in many workloads: on which inputs, and the case that shows it best."""
    inputs: dict[str, int] = {}
    for _, candidate in cases:
        for case in candidate.evidence:
            if not case.ok:
                inputs[case.case] = inputs.get(case.case, 0) + 1
    often = ", ".join(f"{case} {number}" for case, number in sorted(inputs.items(), key=lambda item: -item[1]))
    # The inputs that are wrong least often are the ones that say most: everyday scores before contrived ones.
    rare = min(inputs, key=lambda case: inputs[case]) if inputs else None
    shown = [pair for pair in cases if any(case.case == rare and not case.ok for case in pair[1].evidence)] or cases
    result, candidate = shown[-1]
    role = " (the default)" if candidate.default else ""
    kinds = "/".join(dict.fromkeys(pair[1].status.replace("_", " ") for pair in cases))
    counted = f" (wrong on {often})" if often else ""
    example = f"{_where(result)}, {microseconds(candidate.rough_us)} us: {candidate.reason}"
    return f"{label}{role} is {kinds} in {len(cases)} workloads{counted}; such as {example}"


def _why_no_winner(result: WorkloadResult) -> str:
    broken = [f"{candidate.label}: {candidate.broken}" for candidate in result.candidates if candidate.broken]
    if broken:
        return f"none that is right keeps what is required; {'; '.join(broken[:3])}"
    reasons = [
        f"{candidate.label}: {candidate.status.replace('_', ' ')} ({candidate.reason})"
        for candidate in result.candidates
        if candidate.status not in ("unsupported", "ok", "eliminated")
    ]
    return "; ".join(reasons[:3]) or "no candidate applies"


def _where(result: WorkloadResult) -> str:
    """A workload in a sentence."""
    return f"{operation(result.workload)} {' x '.join(batch_and_context(result.workload))}"
