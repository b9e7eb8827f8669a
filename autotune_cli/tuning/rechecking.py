"""After a race: is its winner still right, and were candidates overlooked that are faster?"""

from __future__ import annotations

from dataclasses import replace

from autotune_cli.results.schema import Status
from autotune_cli.tuning.deciding import decide
from autotune_cli.tuning.jobs import Recheck
from autotune_cli.tuning.messages import Vetted
from autotune_cli.tuning.racing import Racing
from autotune_cli.tuning.task import Findings, Task
from autotune_cli.worker.failures import OutOfTime, WorkerDied, WorkerKilled, WorkerTimeout
from autotune_cli.worker.protocol import REFERENCE_PHASE


class Rechecking:
    """Checks the candidates of a race that has ended, and has it go on where that changes it."""

    def __init__(self, task: Task, findings: Findings, racing: Racing) -> None:
        self._task = task
        self._findings = findings
        self._racing = racing
        self._rechecked: set[str] = set()

    def are_still_right(self) -> bool:
        """The winner, and the user's own candidates that are shown beside it, must still be right after they were
        measured. Those that aren't leave the race, which then goes on.

        Raises:
            Interrupted, Stopped: the user wants to stop.
        """
        race = self._racing.race
        choice = decide(self._task, self._findings, race)
        if choice is None:
            return True
        own = [key for key in race.eligible if key in race.kept and key not in self._rechecked]
        return all(self._is_still_right(key) for key in dict.fromkeys((choice.winner, *own)))

    def restores(self) -> bool:
        """Candidates that the vetting showed far ahead of what the winner now takes are raced after all.

        Returns:
            Are there any? Then the race goes on.
        """
        race = self._racing.race
        choice = decide(self._task, self._findings, race)
        back = [key for key in race.overlooked(choice.winner) if key not in race.restored] if choice else []
        if not back or self._task.share.is_over():
            return False
        race.restore(back)
        return True

    def _is_still_right(self, key: str) -> bool:
        self._task.check_stop()
        outcome = self._recheck(key)
        if outcome is None or outcome.status == "ok":
            self._rechecked.add(key)
            return True
        if not outcome.healthy:
            self._task.worker.kill()
        what = "wrong after the race, right before it" if outcome.status == "incorrect" else "checked after the race"
        self._racing.fail(key, replace(outcome, reason=f"{what}: {outcome.reason}"))
        return False

    def _recheck(self, key: str) -> Vetted | None:
        """None: it can't be checked, of which a warning is kept; it was right in the vetting."""
        task, worker = self._task, self._task.worker
        why = "the budget was spent"
        try:
            outcome: Vetted = worker.ask(
                Recheck(task.workload, task.candidates[key], task.policy.iterations),
                task.settings.timeout_s,
                task.phase,
                end=task.share.hard_end,
            )
        except OutOfTime:
            pass
        except (WorkerTimeout, WorkerDied) as error:
            if worker.phase[0] != REFERENCE_PHASE:
                status: Status = "timeout" if isinstance(error, WorkerTimeout) else "crashed"
                return Vetted(status, str(error), killed=isinstance(error, WorkerKilled))
            why = f"the reference can't be computed again: {error}"
        else:
            if not outcome.unjudged:
                return outcome
            why = outcome.reason or ""
        self._findings.is_unchecked = True
        label = self._findings.results[key].label
        self._findings.warnings.append(f"{label} was not checked again after the race: {why}")
        return None
