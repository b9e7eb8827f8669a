"""The vetting of one workload's candidates: each is built, run, judged and timed once, in a worker that may die."""

from __future__ import annotations

import time
from dataclasses import replace

from autotune_cli.kernels.registry import Candidate
from autotune_cli.results.schema import CandidateResult
from autotune_cli.tuning.duplicates import mark_duplicates
from autotune_cli.tuning.jobs import Vet
from autotune_cli.tuning.messages import Planned, Vetted
from autotune_cli.tuning.outcome import candidate_result, planned_result
from autotune_cli.tuning.task import Findings, Task
from autotune_cli.worker.failures import OutOfTime, WorkerDied, WorkerKilled, WorkerTimeout
from autotune_cli.worker.protocol import BUILD_PHASES, REFERENCE_PHASE

# Inputs that can't be made in a process that other candidates have been in are tried once more in a fresh one.
_REFERENCE_TRIES = 2
# In units of the longest vetting so far: a candidate that takes longer beyond the time for vetting is likely to hang.
_LATE = 3.0
_NO_TURN = "the budget was spent before its turn"


class Vetting:
    """Vets all candidates of a workload. Those of the baselines, and the user's own, come first and have more of a
    budget.
    """

    def __init__(self, task: Task, findings: Findings) -> None:
        self._task = task
        self._findings = findings
        self._planned = task.planned
        self._key = task.key
        self._worker = task.worker
        self._share = task.share
        self._builds = task.builds
        self._first = {*task.held, *task.own}
        self._results: dict[str, CandidateResult] = {}
        self._some_right = False
        self._longest_s = 0.0

    def run(self) -> None:
        """Put the result of each candidate into the findings, in the order of the plan; duplicates are marked.

        Raises:
            Interrupted, Stopped: the user wants to stop.
        """
        ready = [planned for planned in self._planned.candidates if planned.status is None]
        for planned in self._planned.candidates:
            if planned.status is not None:
                self._results[planned.candidate.key] = planned_result(planned)
        self._task.progress.open(
            self._key, list(self._results.values()), [planned.candidate.label for planned in ready]
        )
        for planned in sorted(ready, key=self._turn):
            self._task.check_stop()
            self._take(planned)
        results = {planned.candidate.key: self._results[planned.candidate.key] for planned in self._planned.candidates}
        self._findings.results = mark_duplicates(results, self._task.workload.mode, self._planned.launch_knobs)

    def _turn(self, planned: Planned) -> tuple[bool, bool, bool]:
        """A candidate whose modules the budget left unbuilt comes last: it is built if no other one is right."""
        key = planned.candidate.key
        unbuilt = self._builds.failure(self._key, key)
        is_costly = self._share.is_bounded and key in self._share.costly
        return unbuilt is not None and unbuilt.status == "skipped", is_costly, key not in self._first

    def _take(self, planned: Planned) -> None:
        key = planned.candidate.key
        known = self._task.known.vetted.get(key)
        if known is None:
            vetted = self._without_asking(key)
            if vetted is not None and vetted.status == "skipped":
                self._results[key] = candidate_result(planned, vetted)
                return
            vetted = vetted or self._vet(planned.candidate)
            if vetted.killed:
                self._findings.killed.add(key)
            known = candidate_result(planned, vetted)
            # One that only the budget stopped, or a kill from outside, gets another turn when the run is resumed.
            if known.status != "skipped" and not vetted.killed:
                self._task.journal.vetted(self._key, known)
        self._results[key] = known
        if known.status == "ok" and known.rough_us is not None:
            self._some_right = True
        self._task.progress.vetted(self._key, known)

    def _without_asking(self, key: str) -> Vetted | None:
        """What is clear before the candidate is run."""
        unbuilt = self._builds.failure(self._key, key)
        if unbuilt is not None and unbuilt.status != "skipped":
            return unbuilt
        if self._findings.unjudged is not None:
            return Vetted("skipped", self._findings.unjudged)
        over = self._share.vetting_is_over(key in self._first)
        if self._share.is_out_of_grace() or (self._some_right and (unbuilt is not None or over)):
            return unbuilt or Vetted("skipped", _NO_TURN)
        return None

    def _vet(self, candidate: Candidate) -> Vetted:
        # Without a right candidate the workload may take more than its share, as one without a winner is of no use.
        end = self._share.grace_end
        if self._some_right:
            # To cut off a candidate that is only late costs more than it saves: the next worker's start.
            end = self._share.first_end if candidate.key in self._first else self._share.vetting_end
            end = min(end + _LATE * self._longest_s, self._share.end)
        begin = time.monotonic()
        vetted = Vetted("skipped", _NO_TURN)
        for left in reversed(range(_REFERENCE_TRIES)):
            vetted, again = self._ask(candidate, end)
            if not vetted.healthy:
                self._worker.kill()
            if not vetted.unjudged:
                break
            self._worker.kill()
            if not left or not again:
                self._findings.unjudged = vetted.reason
                return replace(vetted, status="skipped")
        if vetted.status != "skipped":
            self._longest_s = max(self._longest_s, time.monotonic() - begin)
        self._findings.device_s += vetted.device_s
        spent = self._builds.spent(self._key, candidate.key)
        return vetted if spent is None else replace(vetted, build_s=spent + (vetted.build_s or 0.0))

    def _ask(self, candidate: Candidate, end: float) -> tuple[Vetted, bool]:
        """The outcome of one try, and whether another one may come to something else."""
        worker = self._worker
        try:
            vetted: Vetted = worker.ask(
                Vet(
                    self._task.workload,
                    candidate,
                    self._task.policy.rough_iterations,
                    self._task.settings.required,
                ),
                self._task.settings.timeout_s,
                self._task.phase,
                end=end,
            )
        except OutOfTime:
            name, subject = worker.phase
            if subject == candidate.key:
                self._share.costly.add(candidate.key)
            doing = f"the reference of case {subject} was computed" if name == REFERENCE_PHASE else "it was measured"
            if name in BUILD_PHASES:
                doing = "it was built"
            return Vetted("skipped", f"the budget was spent while {doing}"), False
        except (WorkerTimeout, WorkerDied) as error:
            killed = isinstance(error, WorkerKilled)
            late = isinstance(error, WorkerTimeout)
            name, subject = worker.phase
            if name == REFERENCE_PHASE:
                reason = f"the reference of case {subject} can't be computed: {error}"
                return Vetted("skipped", reason, unjudged=True, killed=killed), not (late or killed)
            self._share.costly.add(candidate.key)
            return Vetted("timeout" if late else "crashed", str(error), killed=killed), False
        return vetted, True
