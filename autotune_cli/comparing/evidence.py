"""What one side knows of one candidate, over its sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from autotune_cli.comparing.join import Session, WorkloadPair
from autotune_cli.comparing.verdicts import Reason
from autotune_cli.results.schema import CandidateResult

# May run. Whether it was raced to the end, or at all, is no change of status.
RIGHT = ("ok", "eliminated", "duplicate", "skipped")


@dataclass(frozen=True)
class SideEvidence:
    """One candidate on one side."""

    status: str | None
    """Of most sessions, the newest one's in a draw; None: it isn't there."""
    newest: CandidateResult | None
    rounds: tuple[tuple[float, ...], ...]
    """Microseconds, one sequence a session with rounds."""
    typical: tuple[float, ...]
    """Spread of each of those sessions' neighbours."""
    measurements: tuple[tuple[str, tuple[float, ...]], ...]
    """When and what: equal on both sides for one and the same measurement."""
    dropped: float
    """Share of rounds that were dropped as throttled, in the worst session."""
    clock_mhz: float | None
    """Median SM clock over its rounds."""

    @property
    def middle(self) -> float | None:
        """Median of the rounds; geometric mean of the sessions' medians. Microseconds."""
        if not self.rounds:
            return None
        if len(self.rounds) == 1:
            return median(self.rounds[0])
        return math.exp(math.fsum(math.log(median(rounds)) for rounds in self.rounds) / len(self.rounds))


def side_evidence(sessions: Sequence[Session], results: Sequence[CandidateResult | None]) -> SideEvidence:
    """One candidate's results, one a session (None: not there)."""
    there = [(session, result) for session, result in zip(sessions, results, strict=True) if result is not None]
    timed = [(session, result) for session, result in there if result.rounds_us and result.status in RIGHT]
    clocks = [clock for session, result in timed if (clock := _clock(session, result)) is not None]
    return SideEvidence(
        status=_status([result for _, result in there]),
        newest=there[-1][1] if there else None,
        rounds=tuple(result.rounds_us for _, result in timed),
        typical=tuple(session.spread for session, _ in timed),
        measurements=tuple(sorted((session.result.measured_at, result.rounds_us) for session, result in timed)),
        dropped=max((session.dropped for session, _ in timed), default=0.0),
        clock_mhz=median(clocks) if clocks else None,
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


def _status(results: Sequence[CandidateResult]) -> str | None:
    counts: dict[str, int] = {}
    for result in reversed(results):
        counts[result.status] = counts.get(result.status, 0) + 1
    return max(counts, key=lambda status: counts[status]) if counts else None


def _clock(session: Session, result: CandidateResult) -> float | None:
    values = [session.clocks[number] for number in result.rounds if number in session.clocks]
    return median(values) if values else None
