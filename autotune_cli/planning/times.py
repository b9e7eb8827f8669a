"""What a candidate takes and how well that is known; sums and ratios of such times. Plain functions over numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from autotune_cli.measure.statistics import SMALLEST_SPREAD, Ratio
from autotune_cli.results.schema import MEASURED, CandidateResult, WorkloadResult

# Half of a 95 % interval, relative, of a candidate that dropped out before its first round: one rough time at one
# placement in memory. Of 1,439 candidates of H100 and H200 results (cache/) that were raced three rounds and more, the
# rough time was between 3.5 % less and 2.2 % more than the median in 95 %.
ROUGH_GPU = 0.04
# On a CPU, which other processes disturb, a rough time can be off by far more: comparing.rough.CPU_FACTOR.
ROUGH_CPU = 0.5
# The same after one or two rounds: comparing.statistics.FEW_ROUNDS_SPREAD, twice.
FEW_ROUNDS = 0.02
_ENOUGH_ROUNDS = 3
# Ends of an interval stay numbers, however little is known.
_MOST_LOG = 500.0
# A few rounds can by luck agree far better than rounds do.
_SMALLEST = 2.0 * SMALLEST_SPREAD


class Time(NamedTuple):
    """Microseconds of one call, with half of their 95 % interval."""

    us: float
    half: float
    rough: bool = False
    """Measured once only, before the race."""


class Weighed(NamedTuple):
    """A time in a step, and how often it is in it."""

    weight: float
    candidate: str
    time: Time


def time_of(result: WorkloadResult, candidate: CandidateResult, device_kind: str) -> Time | None:
    """A right candidate's time; None: it is not right, or was not measured.

    What launches just the kernels of another one has that one's times.
    """
    candidate = result.timed(candidate)
    if candidate.status not in MEASURED:
        return None
    us = candidate.median_us
    if us is None:
        us = candidate.rough_us
        return None if us is None else Time(us, us * (ROUGH_CPU if device_kind == "cpu" else ROUGH_GPU), True)
    half = us * (_SMALLEST if len(candidate.rounds_us) >= _ENOUGH_ROUNDS else FEW_ROUNDS)
    if candidate.interval_us is not None:
        low, high = candidate.interval_us
        half = max(half, us - low, high - us)
    return Time(us, half)


def step_of(parts: Iterable[Weighed]) -> Time:
    """The weighted step: what all calls take together, by weight."""
    parts = list(parts)
    half = math.sqrt(math.fsum((part.weight * part.time.half) ** 2 for part in parts))
    us = math.fsum(part.weight * part.time.us for part in parts)
    return Time(us, half, any(part.time.rough for part in parts))


def ratio_of_steps(slow: Sequence[Weighed], fast: Sequence[Weighed]) -> Ratio | None:
    """One step over another of the same workloads, with a 95 % interval; None without any.

    To first order: the relative errors of the calls add up as independent ones do. A workload that both steps run with
    the same candidate has one error, which cancels but for its share of the two.
    """
    if not slow:
        return None
    over, under = step_of(slow).us, step_of(fast).us
    variance = 0.0
    for one, other in zip(slow, fast, strict=True):
        first = one.weight * one.time.half / over
        second = other.weight * other.time.half / under
        same = one.candidate == other.candidate
        variance += (first - second) ** 2 if same else first**2 + second**2
    half = min(math.sqrt(variance), _MOST_LOG)
    return Ratio(over / under, over / under * math.exp(-half), over / under * math.exp(half))


def ratio_of(slow: Weighed, fast: Weighed) -> Ratio:
    """One call over another of the same workload, with a 95 % interval."""
    found = ratio_of_steps([slow], [fast])
    assert found is not None
    return found


def mean_of_ratios(pairs: Sequence[tuple[Weighed, Weighed]]) -> Ratio | None:
    """Geometric mean of ratios by weight, with what their own intervals add up to at 95 %; None without any."""
    if not pairs:
        return None
    total = math.fsum(slow.weight for slow, _ in pairs)
    ratios = [(slow.weight / total, ratio_of(slow, fast)) for slow, fast in pairs]
    log = math.fsum(weight * math.log(ratio.value) for weight, ratio in ratios)
    half = math.sqrt(math.fsum((weight * math.log(ratio.high / ratio.value)) ** 2 for weight, ratio in ratios))
    return Ratio(math.exp(log), math.exp(log - half), math.exp(log + half))
