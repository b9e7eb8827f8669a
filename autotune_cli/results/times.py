"""Times of a result file that can be none, or that contradict each other, as an edited file may have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autotune_cli.errors import BadFile
from autotune_cli.results.schema import CandidateResult, RunFile

# A picosecond, and eleven days: ratios of what lies between are far from a float's ends.
LEAST_US, MOST_US = 1e-6, 1e12


def check_times(run: RunFile, path: Path) -> None:
    """Refuse times that nothing could be made of but wrong numbers.

    Args:
        path: for messages.

    Raises:
        BadFile: a number that is no time of a kernel; an interval that does not hold its median.
    """
    for index, workload in enumerate(run.workloads):
        for number, candidate in enumerate(workload.candidates):
            for field, detail in _faults(candidate):
                raise BadFile(path=path, detail=f"workloads[{index}].candidates[{number}].{field}: {detail}")


def _faults(candidate: CandidateResult) -> Iterator[tuple[str, str]]:
    middle, interval = candidate.median_us, candidate.interval_us
    for field, values in (
        ("rounds_us", candidate.rounds_us),
        ("rough_us", [] if candidate.rough_us is None else [candidate.rough_us]),
        ("median_us", [] if middle is None else [middle]),
        ("interval_us", interval or []),
    ):
        if values and not LEAST_US <= min(values) <= max(values) <= MOST_US:
            odd = next(value for value in values if not LEAST_US <= value <= MOST_US)
            yield field, f"{odd:g} us is no time of a kernel"
    if middle is not None and interval is not None and not interval[0] <= middle <= interval[1]:
        yield "interval_us", f"{interval[0]:g} .. {interval[1]:g} us does not hold the median, {middle:g} us"
