"""Numbers and names as people read them. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure import floor
from autotune_cli.measure.noise import likely_cause, why_noisy
from autotune_cli.render.ceilings import above_floor_words, ceilings_line
from autotune_cli.results.schema import FAILED, CandidateResult, Environment, Settings, WorkloadResult


def microseconds(us: float | None) -> str:
    """``9.87``, ``98.70``, ``987.1``, ``9871``."""
    return "-" if us is None else f"{us:.{_digits(us)}f}"


def _digits(us: float) -> int:
    return 2 if us < 100 else 1 if us < 1000 else 0


def with_interval(us: float | None, interval: tuple[float, float] | None) -> str:
    """``491.2 ± 0.4``: the larger side of the interval."""
    if us is None:
        return "-"
    if interval is None:
        return microseconds(us)
    half = max(us - interval[0], interval[1] - us)
    return f"{us:.{_digits(us)}f} ± {half:.{_digits(us)}f}"


def speedup(value: float | None, interval: tuple[float, float] | None) -> str:
    """``1.278 ± .003``."""
    if value is None:
        return "-"
    if interval is None or interval == (1.0, 1.0):
        return f"{value:.2f}"
    half = max(value - interval[0], interval[1] - value)
    return f"{value:.3f} ± {half:.3f}".replace("± 0.", "± .")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def share_of_floor(result: WorkloadResult) -> float | None:
    """The roofline's floor over the winner's time; see :func:`autotune_cli.measure.floor.share_of_floor`."""
    if result.choice is None:
        return None
    return floor.share_of_floor(result, result.candidate(result.choice.winner))


def operation(workload: AnyWorkload) -> str:
    """The operation, with what tells a model's layers apart."""
    return workload.title


def batch_and_context(workload: AnyWorkload) -> tuple[str, str]:
    """The two columns of a batch shape. ``≤``: lengths differ up to it."""
    return workload.cells


def header(environment: Environment, settings: Settings, noise_floor: float | None = None) -> list[str]:
    """What was measured on, and how; and the ceilings where they were measured."""
    parts = [environment.device]
    if environment.driver:
        parts.append(f"driver {environment.driver}")
    if environment.device_kind == "cpu":
        parts.append(f"{environment.threads} threads")
    for name, version in environment.libraries.items():
        if version != "not installed":
            parts.append(f"{name} {version}")
    method = f"{'cold' if settings.l2 == 'cold' else 'warm'} {'L2' if environment.device_kind == 'cuda' else 'caches'}"
    names = {"cupti": "CUPTI", "events": "CUDA events (they time the host too)", "cpu_clock": "wall clock"}
    timing = f"{method}, {names.get(settings.timer, settings.timer)}"
    timing += f", {settings.rounds} rounds of {settings.iterations}"
    if settings.exhaustive:
        timing += ", exhaustive"
    if noise_floor is not None:
        timing += f" | noise floor {100 * noise_floor:.2f} %"
    ceilings = ceilings_line(environment)
    return [", ".join(parts), timing, *([ceilings] if ceilings else [])]


def counts(results: Sequence[WorkloadResult]) -> str:
    """``3 workloads, 41 candidates: 29 raced, 6 unsupported ...``."""
    number: dict[str, int] = {}
    for result in results:
        for candidate in result.candidates:
            word = "raced" if candidate.status == "ok" else candidate.status.replace("_", " ")
            number[word] = number.get(word, 0) + 1
    total = sum(number.values())
    order = sorted(number, key=lambda word: (word != "raced", -number[word]))
    listed = ", ".join(f"{number[word]} {word}" for word in order)
    return f"{plural(len(results), 'workload')}, {plural(total, 'candidate')}: {listed}"


def plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


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


def _where(result: WorkloadResult) -> str:
    return f"{operation(result.workload)} {' x '.join(batch_and_context(result.workload))}"


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
    reasons = [
        f"{candidate.label}: {candidate.status.replace('_', ' ')} ({candidate.reason})"
        for candidate in result.candidates
        if candidate.status not in ("unsupported", "ok", "eliminated")
    ]
    return "; ".join(reasons[:3]) or "no candidate applies"
