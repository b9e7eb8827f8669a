"""Results that are too noisy to be trusted, and what is likely to be the cause. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.measure.timers import known_timers
from autotune_cli.results.schema import MEASURED, Conditions, WorkloadResult

# Two copies of one kernel agree within 0.1 to 0.5 % on a GPU that is left alone and within some per cent on a processor
# (docs/benchmarks.md). Where they differ by more than this, so might any two candidates.
NOISY_BAND = 0.10
# An eliminated candidate's one rough time is off by some 10 %; a winner that took twice as long did not beat it.
CONTRADICTION = 2.0
# Below this share of its highest reading in a race the SM clock moved enough to explain such a band.
_STEADY_CLOCK = 0.90
# Our own threads make up a load of one a core at most.
_BUSY = 1.2


def why_noisy(result: WorkloadResult) -> str | None:
    """Why a workload's times can't be trusted; None if they can, or if there is no winner."""
    if result.choice is None:
        return None
    if result.noise is not None and result.noise > NOISY_BAND:
        return f"two copies of one kernel differ by {100 * result.noise:.0f} %"
    winner = result.candidate(result.choice.winner)
    if winner.median_us is None:
        return None
    if winner.interval_us is not None and winner.interval_us[1] - winner.interval_us[0] >= winner.median_us:
        low, high = winner.interval_us
        return f"the winner's interval, {low:.4g} to {high:.4g} us, is as wide as its time, {winner.median_us:.4g} us"
    # One that doesn't keep what is required may well be faster: it was not to win.
    rivals = [each for each in result.candidates if each.status in MEASURED and not each.broken]
    beaten = [each for each in rivals if each.rough_us and each != winner]
    fastest = min(beaten, key=lambda each: each.rough_us or 0.0, default=None)
    if fastest is not None and fastest.rough_us and CONTRADICTION * fastest.rough_us < winner.median_us:
        return (
            f"the winner took {winner.median_us:.4g} us, and {fastest.label}, which did not beat it, "
            f"{fastest.rough_us:.4g} us when it was checked"
        )
    return None


def likely_cause(result: WorkloadResult, load: float | None = None, cores: int | None = None) -> str:
    """What to look at: of a GPU its clock and throttling in the race, of a processor load and threads.

    Args:
        load: load average of the machine when this was measured; None: not known any more.
        cores: processors that this program may use; None: not known.
    """
    threads = result.identity.get("threads")
    if threads is not None:
        return _cause_on_cpu(int(threads) if threads.isdecimal() else 0, load, cores)
    return _cause_on_gpu(result.conditions, result.identity.get("timer"))


def _cause_on_cpu(threads: int, load: float | None, cores: int | None) -> str:
    found = []
    if load is not None and cores and load > _BUSY * cores:
        found.append(f"the load average is {load:.1f} on {cores} cores, so other programs run beside")
    if cores and threads > cores:
        found.append(f"torch computes with {threads} threads on {cores} cores (OMP_NUM_THREADS sets it)")
    return "; ".join(found) or f"other programs' load, {threads} threads of torch on shared cores, or a changing clock"


def _cause_on_gpu(conditions: Sequence[Conditions], timer: str | None) -> str:
    found = []
    reasons = sorted({reason for reading in conditions for reason in reading.throttle})
    if reasons:
        slowed = sum(bool(reading.throttle) for reading in conditions)
        found.append(f"the GPU was slowed down in {slowed} of {len(conditions)} rounds ({', '.join(reasons)})")
    clocks = [reading.sm_clock_mhz for reading in conditions if reading.sm_clock_mhz]
    if clocks and min(clocks) < _STEADY_CLOCK * max(clocks):
        found.append(f"its SM clock was between {min(clocks):.0f} and {max(clocks):.0f} MHz")
    about = known_timers().get(timer or "")
    if about is not None and about.noise:
        found.append(about.noise)
    return "; ".join(found) or "another program on this GPU; its clock and throttling were steady"
