"""The tuning of one workload: vet, race, choose. Talks to a worker, a journal and a watcher."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from autotune_cli.kernels.registry import Candidate
from autotune_cli.measure.conditions import is_throttled
from autotune_cli.measure.statistics import median
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.schema import CandidateResult, Choice, Conditions, Status, WorkloadResult
from autotune_cli.tuning.baselines import judged
from autotune_cli.tuning.budget import Share
from autotune_cli.tuning.building import Builds
from autotune_cli.tuning.choose import choose
from autotune_cli.tuning.jobs import Entry, PlannedWorkload, Recheck, RoundDone, RoundFailed, RunRound, Vetted
from autotune_cli.tuning.outcome import finished_candidate
from autotune_cli.tuning.pace import NO_TIME, Pace
from autotune_cli.tuning.progress import Progress
from autotune_cli.tuning.race import Race, RacePolicy, usual_clock
from autotune_cli.tuning.vetting import Vetting
from autotune_cli.worker.process import OutOfTime, Stopped, Worker, WorkerDied, WorkerKilled, WorkerTimeout
from autotune_cli.worker.protocol import REFERENCE_PHASE

# Throttled or lost rounds in a row after which a race goes on with what it has.
_MOST_LOST_ROUNDS = 10
# Of the user's own candidates in a workload, so many are raced to the end however slow they are.
MOST_OWN = 100


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
    keep_own: bool = False
    """The user's own candidates are raced to the end as long as they are right."""

    def own(self, planned: PlannedWorkload) -> tuple[str, ...]:
        """Names of the backends whose candidates are never dropped for being slow."""
        return planned.own_backends if self.keep_own else ()


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
        self._own = [key for key, candidate in self._by_key.items() if candidate.backend in settings.own(planned)]
        self._killed: set[str] = set()
        self._unjudged: str | None = None
        self._rechecked: set[str] = set()
        self._is_unchecked = False
        self._warnings: list[str] = []
        self._pace = Pace()
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
            while not self._are_still_right(race) or self._restores(race):
                stopped = self._run_race(race)
        except (Interrupted, Stopped):
            partial = None
            if race is not None and any(race.times.values()):
                partial = self._result(race, "interrupted", time.monotonic() - begin)
            raise Interrupted(partial) from None
        self._warn_of_overlooked(race)
        return self._result(race, self._why_stopped(race, stopped), time.monotonic() - begin)

    def _vet_all(self) -> None:
        vetting = Vetting(
            self._planned, self._worker, self._journal, self._progress, self._share, self._known.vetted, self._builds,
            self._settings.timeout_s, self._policy.rough_iterations, {*self._held, *self._own}, self._check_stop,
        )  # fmt: skip
        try:
            self._results = vetting.run()
        finally:
            self._killed, self._unjudged, self._device_s = vetting.killed, vetting.unjudged, vetting.device_s

    def _why_stopped(self, race: Race, stopped: str) -> str:
        """However clear the race was: what lacks candidates must not be passed off as the whole by the cache."""
        if self._unjudged is not None:
            return "reference"
        skipped = any(result.status == "skipped" for result in self._results.values())
        if skipped or self._is_unchecked or any(why == NO_TIME for why in race.dropped.values()):
            return "budget"
        return "killed" if self._killed else stopped

    # The race.

    def _make_race(self) -> Race:
        # Who broke in the rounds of the journal had a part in them; it is taken out again below.
        raced = {key for record in self._known.rounds.values() for key in record.times}
        keys = [key for key in self._by_key if self._results[key].status == "ok" or key in raced]
        default = next((key for key in keys if self._results[key].default), None)
        held = {self._results[key].same_as or key for key in self._held}
        own = self._most_promising({self._results[key].same_as or key for key in self._own} & set(keys))
        race = Race(self._policy, keys, default, frozenset(held & set(keys)), own)
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

    def _most_promising(self, own: Collection[str]) -> frozenset[str]:
        """A sweep of a thousand settings isn't raced to the end for being the user's: the fastest of it are."""
        rough = {key: self._results[key].rough_us or 0.0 for key in own}
        return frozenset(sorted(own, key=lambda key: (rough[key], key))[:MOST_OWN])

    def _run_race(self, race: Race) -> str:
        number = 1 + max((conditions.round for conditions in self._conditions), default=-1)
        while True:
            reason = race.finished()
            if reason is not None:
                return reason
            if self._lost >= _MOST_LOST_ROUNDS:
                return "lost rounds"
            if self._share.is_over() and (race.best is not None or self._share.is_out_of_grace()):
                return "budget"
            self._make_room(race, number)
            self._round(race, number)
            number += 1

    def _make_room(self, race: Race, number: int) -> None:
        """Drop those without whom the rounds fit into the budget."""
        if not self._share.is_bounded:
            return
        # The first round may take more than its share.
        end = self._share.grace_end if race.best is None else self._share.end
        left = max(0.0, end - time.monotonic())
        for key in self._pace.surplus(race, *self._calls(race, number), left):
            race.drop(key, NO_TIME)

    def _round(self, race: Race, number: int) -> None:
        self._check_stop()
        anchor = race.anchor
        assert anchor is not None
        order = [Entry(self._by_key[key]) for key in race.order(number)]
        # Far from the first copy, so that the two see different moments of the round.
        order.insert((order.index(Entry(self._by_key[anchor])) + 1 + len(order) // 2) % (len(order) + 1),
                     Entry(self._by_key[anchor], copy=1))  # fmt: skip
        end = self._share.grace_end if race.best is None else self._share.end
        calls, places = self._calls(race, number)
        predicted = self._pace.predict(race, [entry.candidate.key for entry in order], calls, places)
        begin = time.monotonic()
        starts = self._worker.starts
        try:
            outcome = self._worker.ask(
                RunRound(self._workload, number, tuple(order), calls, places),
                self._settings.timeout_s,
                self._phase,
                end=end,
            )
        except OutOfTime:
            return  # cut off by the budget, which is spent now
        except (WorkerTimeout, WorkerDied) as error:
            if self._worker.phase[0] == REFERENCE_PHASE:
                # Computed before, and not again: nobody's fault, and no reason to wait for it ten times.
                self._lost = _MOST_LOST_ROUNDS
                return
            status: Status = "timeout" if isinstance(error, WorkerTimeout) else "crashed"
            failure = Vetted(status, f"in round {number}: {error}", killed=isinstance(error, WorkerKilled))
            self._fail(race, self._worker.phase[1] or None, failure)
            return
        if starts == self._worker.starts:
            self._pace.learn(predicted, time.monotonic() - begin)
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
        if failure.killed:
            self._killed.add(key)
        else:
            self._journal.vetted(self._key, failed)
        self._progress.vetted(self._key, failed)

    def _are_still_right(self, race: Race) -> bool:
        """The winner, and the user's own candidates that are shown beside it, must still be right after they were
        measured. The race goes on without those that aren't.
        """
        choice = self._choose(race)
        if choice is None:
            return True
        own = [key for key in race.running if key in race.kept and key not in self._rechecked]
        return all(self._is_still_right(race, key) for key in dict.fromkeys((choice.winner, *own)))

    def _is_still_right(self, race: Race, key: str) -> bool:
        self._check_stop()
        outcome = self._recheck(key)
        if outcome is None or outcome.status == "ok":
            self._rechecked.add(key)
            return True
        if not outcome.healthy:
            self._worker.kill()
        what = "wrong after the race, right before it" if outcome.status == "incorrect" else "checked after the race"
        self._fail(race, key, replace(outcome, reason=f"{what}: {outcome.reason}"))
        return False

    def _recheck(self, key: str) -> Vetted | None:
        """None: it can't be checked, which is told; it was right in the vetting."""
        why = "the budget was spent"
        try:
            outcome: Vetted = self._worker.ask(
                Recheck(self._workload, self._by_key[key], self._policy.iterations),
                self._settings.timeout_s,
                self._phase,
                end=self._share.hard_end,
            )
        except OutOfTime:
            self._is_unchecked = True
        except (WorkerTimeout, WorkerDied) as error:
            if self._worker.phase[0] != REFERENCE_PHASE:
                status: Status = "timeout" if isinstance(error, WorkerTimeout) else "crashed"
                return Vetted(status, str(error), killed=isinstance(error, WorkerKilled))
            why = f"the reference can't be computed again: {error}"
            self._is_unchecked = True
        else:
            if not outcome.unjudged:
                return outcome
            why = outcome.reason or ""
            self._is_unchecked = True
        self._warnings.append(f"{self._results[key].label} was not checked again after the race: {why}")
        return None

    def _restores(self, race: Race) -> bool:
        """Whom the vetting showed far ahead of what the winner now takes is raced after all."""
        choice = self._choose(race)
        back = [key for key in race.overlooked(choice.winner) if key not in race.restored] if choice else []
        if not back or self._share.is_over():
            return False
        race.restore(back)
        return True

    def _warn_of_overlooked(self, race: Race) -> None:
        choice = self._choose(race)
        if choice is None:
            return
        left = race.overlooked(choice.winner)
        if not left:
            return
        fastest = min(left, key=lambda key: race.rough[key])
        winner_us = median(list(race.times[choice.winner].values()))
        others = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        self._warnings.append(
            f"{self._results[fastest].label}{others} took {race.rough[fastest]:.4g} us when it was checked, the winner "
            f"{winner_us:.4g} us in the race, and it was not raced against it: {race.dropped[fastest]}"
        )

    # The result.

    def _choose(self, race: Race) -> Choice | None:
        default = next((key for key in self._by_key if self._results[key].default), None)
        margin = max(self._policy.tie_margin, race.noise or 0.0)
        over = self._planned.baselines[0].name if self._planned.baselines else "default"
        times = {key: race.times[key] for key in race.running}
        compared = sum(bool(rounds) for rounds in race.times.values())
        return choose(times, race.running, default, margin, over=over, held=self._held, compared=compared)

    def _result(self, race: Race | None, stopped: str, wall_s: float) -> WorkloadResult:
        assert race is not None
        for key, why in race.dropped.items():
            if why == NO_TIME and not race.times[key] and self._results[key].status == "ok":
                self._results[key] = self._results[key].model_copy(update={"status": "skipped", "reason": why})
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
            warnings=tuple(self._warnings),
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
