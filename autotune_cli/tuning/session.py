"""The tuning of one workload: vet, race, choose. Talks to a worker, a journal and a watcher."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from autotune_cli.kernels.registry import Candidate
from autotune_cli.measure.conditions import is_throttled
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.schema import CandidateResult, Choice, Conditions, Status, WorkloadResult
from autotune_cli.tuning.baselines import judged
from autotune_cli.tuning.budget import Share
from autotune_cli.tuning.building import Builds
from autotune_cli.tuning.choose import choose
from autotune_cli.tuning.duplicates import mark_duplicates
from autotune_cli.tuning.jobs import (
    Entry,
    Planned,
    PlannedWorkload,
    Recheck,
    RoundDone,
    RoundFailed,
    RunRound,
    Vet,
    Vetted,
)
from autotune_cli.tuning.outcome import candidate_result, finished_candidate, planned_result
from autotune_cli.tuning.process import BUILD_PHASES, BUILD_TIMEOUT_S, Stopped, Worker, WorkerDied, WorkerTimeout
from autotune_cli.tuning.progress import Progress
from autotune_cli.tuning.race import Race, RacePolicy, usual_clock

# Throttled or lost rounds in a row after which a race goes on with what it has.
_MOST_LOST_ROUNDS = 10


class Interrupted(Exception):
    """The user wants to stop. ``partial`` is the workload's result so far, if it has one."""

    def __init__(self, partial: WorkloadResult | None = None) -> None:
        super().__init__("interrupted")
        self.partial = partial


@dataclass
class Known:
    """What a journal knows of a workload."""

    vetted: Mapping[str, CandidateResult] = field(default_factory=dict)
    rounds: Mapping[int, RoundRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionSettings:
    """What all workloads of a run share."""

    policy: RacePolicy
    timeout_s: float
    environment: str
    """Key of the environment in the result file."""


class Session:
    """Tunes one workload. One thread; the worker may be replaced underneath."""

    def __init__(
        self,
        planned: PlannedWorkload,
        identity: Mapping[str, str],
        settings: SessionSettings,
        worker: Worker,
        journal: Journal,
        progress: Progress,
        share: Share,
        stop: threading.Event,
        known: Known,
        floor_us: float | None,
        card: str | None = None,
        builds: Builds | None = None,
    ) -> None:
        self._planned = planned
        self._workload = planned.workload
        self._key = planned.workload.key
        self._identity = dict(identity)
        self._settings = settings
        self._policy = settings.policy
        self._worker = worker
        self._journal = journal
        self._progress = progress
        self._share = share
        self._stop = stop
        self._known = known
        self._floor_us = floor_us
        self._card = card
        self._builds = builds or Builds()
        self._by_key: dict[str, Candidate] = {entry.candidate.key: entry.candidate for entry in planned.candidates}
        self._held = [each.candidate for each in planned.baselines if each.candidate is not None]
        self._results: dict[str, CandidateResult] = {}
        self._conditions: list[Conditions] = []
        self._device_s = 0.0
        self._lost = 0

    def run(self) -> WorkloadResult:
        """Vet, race, choose.

        Raises:
            Interrupted: the stop event was set; what was measured is in the journal.
        """
        begin = time.monotonic()
        race: Race | None = None
        stopped = "interrupted"
        try:
            self._vet_all()
            race = self._make_race()
            stopped = self._run_race(race)
            while not self._winner_is_right(race):
                stopped = self._run_race(race)
        except (Interrupted, Stopped):
            partial = None
            if race is not None and any(race.times.values()):
                partial = self._result(race, "interrupted", time.monotonic() - begin)
            raise Interrupted(partial) from None
        if any(result.status == "skipped" for result in self._results.values()):
            # However clear the race was: it lacks candidates, so the cache must not pass it off as the whole.
            stopped = "budget"
        return self._result(race, stopped, time.monotonic() - begin)

    # Vetting.

    def _vet_all(self) -> None:
        ready = [planned for planned in self._planned.candidates if planned.status is None]
        for planned in self._planned.candidates:
            if planned.status is not None:
                self._results[planned.candidate.key] = planned_result(planned)
        self._progress.open(self._key, list(self._results.values()), [planned.candidate.label for planned in ready])
        # Whose modules the budget left unbuilt comes last: it is built after all if nobody else is right.
        for planned in sorted(ready, key=self._is_unbuilt):
            key = planned.candidate.key
            known = self._known.vetted.get(key)
            if known is None:
                some_right = any(result.status == "ok" for result in self._vetted())
                unbuilt = self._builds.failure(self._key, key)
                if unbuilt is not None and unbuilt.status != "skipped":
                    vetted = unbuilt
                elif some_right and (unbuilt is not None or self._share.vetting_is_over()):
                    skipped = unbuilt or Vetted("skipped", "the budget was spent before its turn")
                    self._results[key] = candidate_result(planned, skipped)
                    continue
                else:
                    vetted = self._vet(planned.candidate)
                known = candidate_result(planned, vetted)
                # Whom only the budget stopped gets another turn when the run is resumed.
                if known.status != "skipped":
                    self._journal.vetted(self._key, known)
            self._results[key] = known
            self._progress.vetted(self._key, known)
        self._results = mark_duplicates(self._results, self._workload.mode, self._planned.launch_knobs)

    def _is_unbuilt(self, planned: Planned) -> bool:
        """Had the budget no time for its modules?"""
        unbuilt = self._builds.failure(self._key, planned.candidate.key)
        return unbuilt is not None and unbuilt.status == "skipped"

    def _vetted(self) -> list[CandidateResult]:
        return [result for result in self._results.values() if result.rough_us is not None]

    def _vet(self, candidate: Candidate) -> Vetted:
        self._check_stop()
        # Without a right candidate the budget waits: a workload that is left without a winner helps nobody.
        some_right = any(result.status == "ok" for result in self._vetted())
        left = self._share.vetting_left_s() if some_right else float("inf")
        limit = self._settings.timeout_s
        try:
            vetted: Vetted = self._worker.ask(
                Vet(self._workload, candidate, self._policy.rough_iterations),
                min(limit, left),
                self._phase,
                min(BUILD_TIMEOUT_S, left),
            )
        except WorkerTimeout as error:
            if left < (BUILD_TIMEOUT_S if self._worker.phase[0] in BUILD_PHASES else limit):
                return Vetted("skipped", f"the budget was spent while it was measured ({error})")
            return Vetted("timeout", str(error))
        except WorkerDied as error:
            return Vetted("crashed", str(error))
        self._device_s += vetted.device_s
        if not vetted.healthy:
            self._worker.kill()
        spent = self._builds.spent(self._key, candidate.key)
        return vetted if spent is None else replace(vetted, build_s=spent + (vetted.build_s or 0.0))

    # The race.

    def _make_race(self) -> Race:
        # Who broke in the rounds of the journal had a part in them; it is taken out again below.
        raced = {key for record in self._known.rounds.values() for key in record.times}
        keys = [key for key in self._by_key if self._results[key].status == "ok" or key in raced]
        default = next((key for key in keys if self._results[key].default), None)
        held = {self._results[key].same_as or key for key in self._held}
        race = Race(self._policy, keys, default, frozenset(held & set(keys)))
        race.cut_rough({key: self._results[key].rough_us or 0.0 for key in keys})
        for number in sorted(self._known.rounds):
            record = self._known.rounds[number]
            self._conditions.append(record.conditions)
            times = {key: us for key, us in record.times.items() if key in race.times}
            if not record.conditions.dropped:
                race.add(number, times, record.noise_us if record.noise_of == race.anchor else None)
        for key in keys:
            if self._results[key].status != "ok":
                race.fail(key, self._results[key].reason or self._results[key].status)
        return race

    def _run_race(self, race: Race) -> str:
        number = 1 + max((conditions.round for conditions in self._conditions), default=-1)
        while True:
            reason = race.finished()
            if reason is not None:
                return reason
            if self._lost >= _MOST_LOST_ROUNDS:
                return "lost rounds"
            if self._share.is_over() and race.best is not None:
                return "budget"
            self._round(race, number)
            number += 1

    def _round(self, race: Race, number: int) -> None:
        self._check_stop()
        anchor = race.anchor
        assert anchor is not None
        order = [Entry(self._by_key[key]) for key in race.order(number)]
        # Far from the first copy, so that the two see different moments of the round.
        order.insert((order.index(Entry(self._by_key[anchor])) + 1 + len(order) // 2) % (len(order) + 1),
                     Entry(self._by_key[anchor], copy=1))  # fmt: skip
        # The first round waits for everybody, as without one nobody wins.
        limit = self._settings.timeout_s
        left = self._share.left_s() if race.best is not None else float("inf")
        try:
            outcome = self._worker.ask(
                RunRound(self._workload, number, tuple(order), *self._calls(race, number)),
                min(limit, left),
                self._phase,
            )
        except (WorkerTimeout, WorkerDied) as error:
            if isinstance(error, WorkerTimeout) and left < limit:
                return  # cut off by the budget, which is spent now
            status: Status = "timeout" if isinstance(error, WorkerTimeout) else "crashed"
            self._fail(race, self._worker.phase[1] or None, Vetted(status, f"in round {number}: {error}"))
            return
        self._device_s += outcome.device_s
        if isinstance(outcome, RoundFailed):
            if not outcome.healthy:
                self._worker.kill()
            key = None if outcome.entry is None else outcome.entry.candidate.key
            self._fail(race, key, Vetted(outcome.status, f"in round {number}: {outcome.reason}"))
            return
        self._take(race, number, order, outcome)

    def _calls(self, race: Race, number: int) -> tuple[int, int]:
        """Calls of a candidate in a round, and at how many places."""
        calls, places = self._policy.iterations, self._policy.places
        return (-(-calls // places), 1) if race.is_heat(number) else (calls, places)

    def _take(self, race: Race, number: int, order: list[Entry], outcome: RoundDone) -> None:
        usual = usual_clock([conditions.sm_clock_mhz for conditions in self._conditions if not conditions.dropped])
        dropped = is_throttled(outcome.conditions, usual)
        conditions = outcome.conditions.model_copy(update={"dropped": dropped})
        self._conditions.append(conditions)
        if dropped:
            self._lost += 1
            self._journal.round(self._key, RoundRecord(conditions=conditions, times={}))
            return
        self._lost = 0
        times = {entry.candidate.key: us for entry, us in zip(order, outcome.us, strict=True) if entry.copy == 0}
        copy = next(us for entry, us in zip(order, outcome.us, strict=True) if entry.copy == 1)
        record = RoundRecord(conditions=conditions, times=times, noise_of=race.anchor, noise_us=copy)
        self._journal.round(self._key, record)
        race.add(number, times, copy)
        self._progress.round(self._key, race)

    def _fail(self, race: Race, key: str | None, failure: Vetted) -> None:
        """A candidate that was right breaks in the race: it leaves it; the others go on."""
        if key is None or key not in race.times:
            self._lost += 1
            return
        race.fail(key, failure.reason or failure.status)
        known = self._results[key]
        evidence = (*known.evidence, *failure.evidence)
        failed = known.model_copy(update={"status": failure.status, "reason": failure.reason, "evidence": evidence})
        self._results[key] = failed
        self._journal.vetted(self._key, failed)
        self._progress.vetted(self._key, failed)

    def _winner_is_right(self, race: Race) -> bool:
        """The winner must still be right after it was measured; if it isn't, the race goes on without it."""
        choice = self._choose(race)
        if choice is None:
            return True
        self._check_stop()
        key = choice.winner
        try:
            outcome: Vetted = self._worker.ask(
                Recheck(self._workload, self._by_key[key], self._policy.iterations),
                self._settings.timeout_s,
                self._phase,
            )
        except (WorkerTimeout, WorkerDied) as error:
            outcome = Vetted("timeout" if isinstance(error, WorkerTimeout) else "crashed", str(error))
        if outcome.status == "ok":
            return True
        if not outcome.healthy:
            self._worker.kill()
        what = "wrong after the race, right before it" if outcome.status == "incorrect" else "checked after the race"
        self._fail(race, key, replace(outcome, reason=f"{what}: {outcome.reason}"))
        return False

    # The result.

    def _choose(self, race: Race) -> Choice | None:
        default = next((key for key in self._by_key if self._results[key].default), None)
        margin = max(self._policy.tie_margin, race.noise or 0.0)
        over = self._planned.baselines[0].name if self._planned.baselines else "default"
        times = {key: race.times[key] for key in race.running}
        return choose(times, race.running, default, margin, over=over, held=self._held)

    def _result(self, race: Race | None, stopped: str, wall_s: float) -> WorkloadResult:
        assert race is not None
        choice = self._choose(race)
        copies = sorted(race.copies)
        winner = choice.winner if choice else None
        return WorkloadResult(
            workload=self._workload,
            key=self._key,
            environment=self._settings.environment,
            identity=self._identity,
            candidates=tuple(finished_candidate(self._results[key], race) for key in self._by_key),
            choice=choice,
            baselines=tuple(judged(each, winner, self._results, race.times) for each in self._planned.baselines),
            conditions=tuple(self._conditions),
            floor_us=self._floor_us,
            noise=race.noise,
            noise_of=race.copied if copies else None,
            noise_rounds=tuple(copies),
            noise_rounds_us=tuple(race.copies[number] for number in copies),
            stopped=stopped,
            device_s=round(self._device_s, 4),
            wall_s=round(wall_s, 3),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            card=self._card,
        )

    def _phase(self, name: str, subject: str) -> None:
        self._progress.phase(self._key, name, subject)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted()
