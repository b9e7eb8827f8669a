"""Numbers and names as people read them. Plain functions, no terminal."""

from __future__ import annotations

from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure import floor
from autotune_cli.results.schema import CandidateResult, WorkloadResult


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


def rough(us: float | None) -> str:
    """``~9.87``: a time that was taken once."""
    return f"~{microseconds(us)}"


def time_of(candidate: CandidateResult) -> str:
    """With its interval; a rough one where no other is known."""
    if candidate.median_us is None and candidate.rough_us is not None:
        return rough(candidate.rough_us)
    return with_interval(candidate.median_us, candidate.interval_us)


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


def winner_share_of_floor(result: WorkloadResult) -> float | None:
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


def plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
