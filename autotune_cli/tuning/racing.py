"""The race of one workload, run: rounds are asked of the worker, kept in the journal and counted."""

from __future__ import annotations

import time
from collections.abc import Collection

from autotune_cli.measure.conditions import is_throttled
from autotune_cli.results.records import RoundRecord
from autotune_cli.results.schema import Status
from autotune_cli.tuning.jobs import RunRound
from autotune_cli.tuning.lengths import fastest_at_points
from autotune_cli.tuning.messages import RoundDone, RoundEntry, RoundFailed, Vetted
from autotune_cli.tuning.pace import NO_TIME, Pace
from autotune_cli.tuning.race import Race, usual_clock
from autotune_cli.tuning.task import Findings, Task
from autotune_cli.worker.failures import OutOfTime, WorkerDied, WorkerKilled, WorkerTimeout
from autotune_cli.worker.protocol import REFERENCE_PHASE

# Throttled or lost rounds in a row after which a race goes on with what it has.
_MOST_LOST_ROUNDS = 10
# So many candidates that may not win are raced beside those that may, for the price of what is required.
_MOST_BARRED = 2
# Of the user's own candidates in a workload, so many are raced to the end however slow they are.
MOST_OWN = 100


class Racing:
    """Runs rounds until the race is decided, or its time is over."""

    def __init__(self, task: Task, findings: Findings) -> None:
        """Begin the race of the candidates that are right, with the rounds that the journal has."""
        self._task = task
        self._findings = findings
        self._candidates = task.candidates
        self._pace = Pace()
        self._lost = 0
        self.race = self._begun()

    def run(self) -> str:
        """Race on.

        Returns:
            Why the race has ended.

        Raises:
            Interrupted, Stopped: the user wants to stop; what was measured is in the journal.
        """
        race, share = self.race, self._task.share
        number = 1 + max((conditions.round for conditions in self._findings.conditions), default=-1)
        while True:
            reason = race.finished()
            if reason is not None:
                return reason
            if self._lost >= _MOST_LOST_ROUNDS:
                return "lost rounds"
            if share.is_over() and (race.best is not None or share.is_out_of_grace()):
                return "budget"
            self._make_room(number)
            self._round(number)
            number += 1

    def fail(self, key: str | None, failure: Vetted) -> None:
        """Take a candidate that was right, and breaks in the race, out of it; the others go on.

        Args:
            key: None: the round is lost, and no candidate is known to be at fault.
        """
        if key is None or key not in self.race.times:
            self._lost += 1
            return
        self.race.fail(key, failure.reason or failure.status)
        known = self._findings.results[key]
        evidence = (*known.evidence, *failure.evidence)
        failed = known.model_copy(update={"status": failure.status, "reason": failure.reason, "evidence": evidence})
        self._findings.results[key] = failed
        if failure.killed:
            self._findings.killed.add(key)
        else:
            self._task.journal.vetted(self._task.key, failed)
        self._task.progress.vetted(self._task.key, failed)

    def _begun(self) -> Race:
        task, results = self._task, self._findings.results
        rounds = task.known.rounds
        # A candidate that broke in one of the journal's rounds had a part in them; it is taken out again below.
        raced = {key for record in rounds.values() for key in record.times}
        keys = [key for key in self._candidates if results[key].status == "ok" or key in raced]
        default = next((key for key in keys if results[key].default), None)
        held = {results[key].same_as or key for key in task.held}
        own = self._most_promising({results[key].same_as or key for key in task.own} & set(keys))
        barred = {key: results[key].broken for key in keys if results[key].broken}
        kept = own | self._fastest_at_points(keys) | self._fastest_without(barred)
        race = Race(task.policy, keys, default, frozenset(held & set(keys)), kept, barred)
        race.cut_rough({key: results[key].rough_us or 0.0 for key in keys})
        for number in sorted(rounds):
            record = rounds[number]
            self._findings.conditions.append(record.conditions)
            times = {key: us for key, us in record.times.items() if key in race.times}
            points = {key: us for key, us in record.points.items() if key in race.times}
            if not record.conditions.dropped:
                race.add(number, times, record.noise_us if record.noise_of == race.anchor else None, points)
        for key in keys:
            if results[key].status != "ok":
                race.fail(key, results[key].reason or results[key].status)
        return race

    def _most_promising(self, own: Collection[str]) -> frozenset[str]:
        """A sweep of a thousand settings isn't raced to the end for being the user's: the fastest of it are."""
        rough = {key: self._findings.results[key].rough_us or 0.0 for key in own}
        return frozenset(sorted(own, key=lambda key: (rough[key], key))[:MOST_OWN])

    def _fastest_at_points(self, keys: Collection[str]) -> frozenset[str]:
        """At each of the workload's lengths the one that the vetting saw fastest: raced to the end, so that what the
        choice loses there is known, however slow it is at the others.
        """
        results = (self._findings.results[key] for key in keys)
        right = [result for result in results if result.status == "ok" and not result.broken]
        return fastest_at_points({result.key: result.rough_points_us for result in right})

    def _fastest_without(self, barred: Collection[str]) -> frozenset[str]:
        """Those that may not win and were fastest in the vetting: raced to the end, so that what is required has a
        price.
        """
        results = self._findings.results
        right = [key for key in barred if results[key].status == "ok"]
        return frozenset(sorted(right, key=lambda key: (results[key].rough_us or 0.0, key))[:_MOST_BARRED])

    @property
    def _end(self) -> float:
        """By ``time.monotonic()``, of a round; the first one may take more than the workload's share."""
        share = self._task.share
        return share.grace_end if self.race.best is None else share.end

    def _make_room(self, number: int) -> None:
        """Drop the candidates without which the rounds fit into the budget."""
        if not self._task.share.is_bounded:
            return
        left = max(0.0, self._end - time.monotonic())
        for key in self._pace.surplus(self.race, *self._calls(number), left):
            self.race.drop(key, NO_TIME)

    def _round(self, number: int) -> None:
        task, race = self._task, self.race
        task.check_stop()
        order = self._order(number)
        calls, placements = self._calls(number)
        predicted = self._pace.predict(race, [entry.candidate.key for entry in order], calls, placements)
        begin = time.monotonic()
        starts = task.worker.starts
        try:
            outcome = task.worker.ask(
                RunRound(task.workload, number, order, calls, placements),
                task.settings.timeout_s,
                task.phase,
                end=self._end,
            )
        except OutOfTime:
            return  # cut off by the budget, which is spent now
        except (WorkerTimeout, WorkerDied) as error:
            if task.worker.phase[0] == REFERENCE_PHASE:
                # It was computed before, and can't be now: no candidate is at fault, and ten more tries don't help.
                self._lost = _MOST_LOST_ROUNDS
                return
            status: Status = "timeout" if isinstance(error, WorkerTimeout) else "crashed"
            failure = Vetted(status, f"in round {number}: {error}", killed=isinstance(error, WorkerKilled))
            self.fail(task.worker.phase[1] or None, failure)
            return
        if starts == task.worker.starts:
            self._pace.learn(predicted, time.monotonic() - begin)
        self._findings.device_s += outcome.device_s
        if isinstance(outcome, RoundFailed):
            if not outcome.healthy:
                task.worker.kill()
            key = None if outcome.entry is None else outcome.entry.candidate.key
            self.fail(key, Vetted(outcome.status, f"in round {number}: {outcome.reason}"))
            return
        self._take(number, order, outcome)

    def _order(self, number: int) -> tuple[RoundEntry, ...]:
        """The running candidates and a second copy of the anchor."""
        anchor = self.race.anchor
        assert anchor is not None
        order = [RoundEntry(self._candidates[key]) for key in self.race.order(number)]
        first = RoundEntry(self._candidates[anchor])
        # Far from the first copy, so that the two see different moments of the round.
        position = (order.index(first) + 1 + len(order) // 2) % (len(order) + 1)
        order.insert(position, RoundEntry(self._candidates[anchor], copy=1))
        return tuple(order)

    def _calls(self, number: int) -> tuple[int, int]:
        """Calls of a candidate in a round, and at how many placements; the first heat is where they were vetted, as
        what it tells apart is more than a placement does, and preparing them anew takes longer than measuring them.
        """
        policy = self._task.policy
        calls, placements = policy.calls(self.race.best_us), policy.placements
        if not self.race.is_heat(number):
            return calls, placements
        return -(-calls // placements), min(number, 1)

    def _take(self, number: int, order: tuple[RoundEntry, ...], outcome: RoundDone) -> None:
        known = self._findings.conditions
        usual = usual_clock([conditions.sm_clock_mhz for conditions in known if not conditions.dropped])
        dropped = is_throttled(outcome.conditions, usual)
        conditions = outcome.conditions.model_copy(update={"dropped": dropped})
        known.append(conditions)
        if dropped:
            self._lost += 1
            self._task.journal.round(self._task.key, RoundRecord(conditions=conditions, times={}))
            return
        self._lost = 0
        times = {entry.candidate.key: us for entry, us in zip(order, outcome.us, strict=True) if entry.copy == 0}
        copy = next(us for entry, us in zip(order, outcome.us, strict=True) if entry.copy == 1)
        pairs = zip(order, outcome.points_us, strict=True) if outcome.points_us else ()
        points = {entry.candidate.key: us for entry, us in pairs if entry.copy == 0}
        record = RoundRecord(
            conditions=conditions, times=times, noise_of=self.race.anchor, noise_us=copy, points=points
        )
        self._task.journal.round(self._task.key, record)
        self.race.add(number, times, copy, points)
        self._task.progress.round(self._task.key, self.race)
