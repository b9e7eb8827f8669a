"""Match the workloads and candidates of both sides. Several files a side that hold a workload are its sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autotune_cli.comparing.statistics import ENOUGH_ROUNDS, log_spread, median, typical_spread
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import CandidateResult, RunFile, WorkloadResult

DeviceKey = tuple[str, str, int, int]
# A clock outside of these is none: the times are compared without clocks.
_LEAST_MHZ, _MOST_MHZ = 1.0, 1e5


@dataclass(frozen=True)
class SessionResult:
    """A workload's result in one session, which is one file."""

    path: Path
    run: RunFile
    result: WorkloadResult

    @property
    def device(self) -> DeviceKey:
        """What must be equal for times to be compared; a MIG slice has fewer multiprocessors."""
        environment = self.run.environments[self.result.environment]
        threads = environment.threads if environment.device_kind == "cpu" else 0
        return environment.device_kind, environment.device, environment.multiprocessors, threads

    @property
    def measurement(self) -> tuple[object, ...]:
        """Equal for copies of one measurement: a file given twice under two names, a result taken from a cache."""
        return self.result.measured_at, tuple(candidate.rounds_us for candidate in self.result.candidates)

    @cached_property
    def spread(self) -> float:
        """Typical spread of a candidate's rounds."""
        spreads = [log_spread(c.rounds_us) for c in self.result.candidates if len(c.rounds_us) >= ENOUGH_ROUNDS]
        return typical_spread(spreads)

    @cached_property
    def best_rough_us(self) -> float | None:
        """Rough time of the fastest candidate, microseconds: what others' rough times are compared with."""
        if self.result.choice is None:
            return None
        best = self.result.candidate(self.result.choice.best)
        return best.rough_us or best.median_us

    @cached_property
    def dropped(self) -> float:
        """Share of rounds that were dropped as throttled."""
        conditions = self.result.conditions
        return sum(condition.dropped for condition in conditions) / len(conditions) if conditions else 0.0

    def clock_mhz(self, rounds: tuple[int, ...]) -> float | None:
        """Median SM clock over some rounds; None if it is known of none. Many candidates were in the same rounds."""
        if rounds not in self._clocks_of:
            values = [self._clocks[number] for number in rounds if number in self._clocks]
            self._clocks_of[rounds] = median(values) if values else None
        return self._clocks_of[rounds]

    @cached_property
    def _clocks(self) -> dict[int, float]:
        """In MHz by round."""
        return {
            c.round: c.sm_clock_mhz
            for c in self.result.conditions
            if c.sm_clock_mhz is not None and _LEAST_MHZ <= c.sm_clock_mhz <= _MOST_MHZ
        }

    @cached_property
    def _clocks_of(self) -> dict[tuple[int, ...], float | None]:
        return {}


@dataclass(frozen=True)
class WorkloadPair:
    """A workload that both sides have, with its sessions, oldest first."""

    a: tuple[SessionResult, ...]
    b: tuple[SessionResult, ...]

    @property
    def workload(self) -> AnyWorkload:
        return self.a[0].result.workload

    @cached_property
    def same_card(self) -> bool:
        """Were both sides measured on the same cards, and is that known? A CPU has none."""
        if all(session.device[0] == "cpu" for session in (*self.a, *self.b)):
            return True
        cards = [{session.result.card for session in side} for side in (self.a, self.b)]
        return cards[0] == cards[1] and None not in cards[0]

    def candidates(self) -> Iterator[tuple[str, list[CandidateResult | None], list[CandidateResult | None]]]:
        """Key and results of each candidate: one a session, None where that has none; A's order first."""
        sides = [
            [{candidate.key: candidate for candidate in session.result.candidates} for session in side]
            for side in (self.a, self.b)
        ]
        keys = dict.fromkeys(key for side in sides for session in side for key in session)
        for key in keys:
            yield key, [session.get(key) for session in sides[0]], [session.get(key) for session in sides[1]]


@dataclass(frozen=True)
class Joined:
    """Both sides, matched."""

    pairs: tuple[WorkloadPair, ...]
    only_a: tuple[str, ...]
    """Keys of workloads."""
    only_b: tuple[str, ...]
    devices_only: tuple[str, ...] = ()
    """Keys of workloads that both sides have, yet never for one device."""
    modes_only: tuple[str, ...] = ()
    """Keys of A's workloads that B has in the other mode."""


_Side = dict[str, dict[DeviceKey, list[SessionResult]]]


def sessions_of(files: Sequence[tuple[Path, RunFile]]) -> tuple[list[SessionResult], int]:
    """All results of a side's files, oldest first, and how many copies of a measurement were left out."""
    sessions = [SessionResult(path, run, result) for path, run in files for result in run.workloads]
    sessions.sort(key=lambda session: session.result.measured_at)
    if len(files) == 1:
        return sessions, 0
    unique: dict[tuple[object, ...], SessionResult] = {}
    for session in sessions:
        unique.setdefault((session.result.key, session.device, *session.measurement), session)
    return list(unique.values()), len(sessions) - len(unique)


def join(
    a: Sequence[SessionResult], b: Sequence[SessionResult], any_device: bool = False, any_mode: bool = False
) -> Joined:
    """Match by workload and device.

    Args:
        any_device: also match a workload that the sides have for different devices only.
        any_mode: also match workloads that differ in nothing but the mode (eager, graph).
    """
    left, right = _by_key(a), _by_key(b)
    pairs: list[WorkloadPair] = []
    apart: list[str] = []
    modes: list[str] = []
    matched_b: set[str] = set()
    unmatched: list[str] = []
    for key, devices in left.items():
        if key not in right:
            unmatched.append(key)
            continue
        matched_b.add(key)
        found = _match(devices, right[key], any_device)
        pairs += found
        if not found:
            apart.append(key)
    other_modes = {_modeless(right[key]): key for key in right if key not in matched_b}
    only_a = []
    for key in unmatched:
        twin = other_modes.get(_modeless(left[key]))
        if twin is None:
            only_a.append(key)
            continue
        modes.append(key)
        found = _match(left[key], right[twin], any_device) if any_mode else []
        if found:
            matched_b.add(twin)
            pairs += found
        else:
            only_a.append(key)
    only_b = tuple(key for key in right if key not in matched_b)
    return Joined(tuple(pairs), tuple(only_a), only_b, tuple(apart), tuple(modes))


def _by_key(sessions: Sequence[SessionResult]) -> _Side:
    side: _Side = {}
    for session in sessions:
        side.setdefault(session.result.key, {}).setdefault(session.device, []).append(session)
    return side


def _match(
    a: dict[DeviceKey, list[SessionResult]], b: dict[DeviceKey, list[SessionResult]], any_device: bool
) -> list[WorkloadPair]:
    common = [device for device in a if device in b]
    if common:
        return [WorkloadPair(tuple(a[device]), tuple(b[device])) for device in common]
    if not any_device:
        return []
    return [WorkloadPair(tuple(_newest(a)), tuple(_newest(b)))]


def _newest(devices: dict[DeviceKey, list[SessionResult]]) -> list[SessionResult]:
    return max(devices.values(), key=lambda sessions: sessions[-1].result.measured_at)


def _modeless(devices: dict[DeviceKey, list[SessionResult]]) -> str:
    workload = next(iter(devices.values()))[0].result.workload
    return workload.model_copy(update={"mode": "eager"}).key
