"""Numbers and names as people read them. Plain functions, no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.kernels.workload import AttentionWorkload, TopkWorkload
from autotune_cli.results.schema import CandidateResult, Environment, Settings, WorkloadResult


def microseconds(us: float | None) -> str:
    """Four digits at most: ``9.87``, ``98.7``, ``987``."""
    if us is None:
        return "-"
    digits = 2 if us < 10 else 1 if us < 1000 else 0
    return f"{us:.{digits}f}"


def with_interval(us: float | None, interval: tuple[float, float] | None) -> str:
    """``491.2 ± 0.4``: the larger side of the interval."""
    if us is None:
        return "-"
    if interval is None:
        return microseconds(us)
    half = max(us - interval[0], interval[1] - us)
    digits = 2 if us < 10 else 1 if us < 1000 else 0
    return f"{us:.{digits}f} ± {half:.{digits}f}"


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
    """The roofline's floor over the winner's time: 1 is as fast as the device can be."""
    if result.choice is None or result.floor_us is None:
        return None
    median = result.candidate(result.choice.winner).median_us
    return None if median is None else result.floor_us / median


def batch_and_context(workload: AttentionWorkload | TopkWorkload) -> tuple[str, str]:
    """The two columns of a batch shape; an extend's context is ``new+prefix``."""
    if isinstance(workload, TopkWorkload):
        return str(workload.rows), str(workload.width)
    if workload.operation == "attention.extend":
        return str(workload.batch), f"{workload.new}+{workload.context - workload.new}"
    return str(workload.batch), str(workload.context)


def default_cell(result: WorkloadResult) -> str:
    """The default's time, or why there is none."""
    for candidate in result.candidates:
        if candidate.default:
            if candidate.status in ("ok", "eliminated"):
                return microseconds(candidate.median_us)
            return {"incorrect": "wrong", "unavailable": "missing"}.get(candidate.status, candidate.status)
    return "-"


def header(environment: Environment, settings: Settings, noise_floor: float | None = None) -> list[str]:
    """Two lines: what was measured on, and how."""
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
    return [", ".join(parts), timing]


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


def warnings_of(result: WorkloadResult) -> list[str]:
    """What was fast but wrong, and a default that must not run: the lines in red."""
    lines = []
    winner_us = result.candidate(result.choice.winner).median_us if result.choice else None
    for candidate in result.candidates:
        if candidate.status == "incorrect" and (candidate.default or _is_faster(candidate, winner_us)):
            role = "the default, " if candidate.default else ""
            lines.append(f"{candidate.label} ({role}{microseconds(candidate.rough_us)} us) is {candidate.reason}")
        elif candidate.default and candidate.status in ("error", "timeout", "crashed", "out_of_memory"):
            lines.append(f"{candidate.label} (the default) {candidate.status.replace('_', ' ')}: {candidate.reason}")
    if result.choice is None:
        lines.append(f"no winner: {_why_no_winner(result)}")
    return lines


def _is_faster(candidate: CandidateResult, winner_us: float | None) -> bool:
    return winner_us is None or (candidate.rough_us is not None and candidate.rough_us < winner_us)


def _why_no_winner(result: WorkloadResult) -> str:
    reasons = [
        f"{candidate.label}: {candidate.status.replace('_', ' ')} ({candidate.reason})"
        for candidate in result.candidates
        if candidate.status not in ("unsupported", "ok", "eliminated")
    ]
    return "; ".join(reasons[:3]) or "no candidate applies"
