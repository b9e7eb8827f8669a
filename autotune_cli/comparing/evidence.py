"""What one side knows of one candidate, over its sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from autotune_cli.comparing.decisions import Reason
from autotune_cli.comparing.join import SessionResult, WorkloadPair
from autotune_cli.comparing.majority import majority
from autotune_cli.comparing.statistics import median
from autotune_cli.results.schema import CandidateResult

# Candidates with these statuses may run. Whether one was raced to the end, or at all, is no change of status.
RIGHT = ("ok", "eliminated", "duplicate", "skipped")


class SideEvidence(NamedTuple):
    """One candidate on one side."""

    status: str | None
    """Of most sessions, the newest one's in a draw; None: it isn't there."""
    newest: CandidateResult | None
    rounds: tuple[tuple[float, ...], ...]
    """Microseconds, one sequence a session with rounds."""
    middle: float | None
    """Median of the rounds; geometric mean of the sessions' medians. Microseconds."""
    typical: tuple[float, ...]
    """Spread of each of those sessions' neighbours."""
    measurements: tuple[tuple[str, tuple[float, ...]], ...]
    """When and what: equal on both sides for one and the same measurement."""
    dropped: float
    """Share of rounds that were dropped as throttled, in the worst session."""
    clock_mhz: float | None
    """Median SM clock over its rounds."""
    rough: float | None = None
    """The vetting's one time: the median of the sessions', where it was right. Microseconds."""
    behind: float | None = None
    """That of the newest session over the rough time of the best there, where it was out before the race."""
    eliminated: str | None = None
    """Why it was out before the race in the newest session; None: it was not, or is not right."""


def side_evidence(sessions: Sequence[SessionResult], results: Sequence[CandidateResult | None]) -> SideEvidence:
    """One candidate's results, one a session (None: not there)."""
    newest = None
    statuses, rounds, typical, measurements, clocks = [], [], [], [], []
    dropped = 0.0
    for session, result in zip(sessions, results, strict=True):
        if result is None:
            continue
        newest = result
        statuses.append(result.status)
        if result.rounds_us and result.status in RIGHT:
            rounds.append(result.rounds_us)
            typical.append(session.spread)
            measurements.append((session.result.measured_at, result.rounds_us))
            dropped = max(dropped, session.dropped)
            clocks.append(session.clock_mhz(result.rounds))
    known = [clock for clock in clocks if clock is not None]
    rough = [each.rough_us for each in results if each is not None and each.rough_us and each.status in RIGHT]
    eliminated = newest is not None and newest.status == "eliminated" and not rounds
    behind = None
    if eliminated and newest is not None and newest.rough_us:
        best = next(s.best_rough_us for s, each in zip(sessions, results, strict=True) if each is newest)
        behind = newest.rough_us / best if best else None
    return SideEvidence(
        status=majority(statuses) if statuses else None,
        newest=newest,
        rounds=tuple(rounds),
        middle=_middle(rounds),
        typical=tuple(typical),
        measurements=tuple(sorted(measurements)),
        dropped=dropped,
        clock_mhz=median(known) if known else None,
        rough=median(rough) if rough else None,
        behind=behind,
        eliminated=((newest.reason if newest else None) or "eliminated") if eliminated else None,
    )


def status_reason(a: str, b: str) -> Reason | None:
    """What a change of status is; None where there is none."""
    if (a in RIGHT and b in RIGHT) or a == b:
        return None
    if a in RIGHT:
        return Reason.STATUS_WORSE
    return Reason.STATUS_BETTER if b in RIGHT else Reason.STATUS_OTHER


def clock_log_ratio(a: SideEvidence, b: SideEvidence) -> float:
    """log(clock of A / clock of B), 0 where one is unknown."""
    if not a.clock_mhz or not b.clock_mhz:
        return 0.0
    return math.log(a.clock_mhz / b.clock_mhz)


def noise(pair: WorkloadPair) -> float:
    """The noise floor of a workload's comparison, relative: the larger of both sides'. A side's is the larger of its
    runs' recorded floors and of this workload's own A/A differences; of several sessions the median."""
    sides = []
    for side in (pair.a, pair.b):
        floors = [session.run.noise_floor for session in side if session.run.noise_floor is not None]
        own = [session.result.noise for session in side if session.result.noise is not None]
        sides += [median(values) for values in (floors, own) if values]
    return max(sides, default=0.0)


def _middle(sessions: Sequence[Sequence[float]]) -> float | None:
    if not sessions:
        return None
    if len(sessions) == 1:
        return median(sessions[0])
    return math.exp(math.fsum(math.log(median(rounds)) for rounds in sessions) / len(sessions))
