"""The tuning of one workload: vet, race, choose."""

from __future__ import annotations

import time

from autotune_cli.results.schema import WorkloadResult
from autotune_cli.tuning.deciding import decide, overlooked_warning, why_stopped, workload_result
from autotune_cli.tuning.racing import Racing
from autotune_cli.tuning.rechecking import Rechecking
from autotune_cli.tuning.task import Findings, Interrupted, Task
from autotune_cli.tuning.vetting import Vetting
from autotune_cli.worker.failures import Stopped


def tune_workload(task: Task) -> WorkloadResult:
    """Tune one workload in this thread.

    Raises:
        Interrupted: the user wants to stop; what was measured is in the journal.
    """
    begin = time.monotonic()
    findings = Findings()
    racing: Racing | None = None
    try:
        Vetting(task, findings).run()
        racing = Racing(task, findings)
        rechecking = Rechecking(task, findings, racing)
        stopped = racing.run()
        while not rechecking.are_still_right() or rechecking.restores():
            stopped = racing.run()
    except (Interrupted, Stopped):
        partial = None
        if racing is not None and any(racing.race.times.values()):
            partial = workload_result(task, findings, racing.race, "interrupted", time.monotonic() - begin)
        raise Interrupted(partial) from None
    race = racing.race
    warning = overlooked_warning(findings, race, decide(task, findings, race))
    if warning is not None:
        findings.warnings.append(warning)
    return workload_result(task, findings, race, why_stopped(findings, race, stopped), time.monotonic() - begin)
