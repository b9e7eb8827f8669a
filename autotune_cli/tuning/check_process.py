"""The parent's side of a worker that judges candidates, and what it is asked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_cli.kernels.family import family
from autotune_cli.kernels.registry import Candidate
from autotune_cli.tuning.messages import Checked, CheckPlan
from autotune_cli.worker.process import Worker

if TYPE_CHECKING:
    from autotune_cli.kernels.workload import AnyWorkload
    from autotune_cli.tuning.check_bench import CheckBench


class CheckProcess(Worker):
    """Answers the jobs below with a :class:`~autotune_cli.tuning.check_bench.CheckBench`."""

    program = "autotune_cli.tuning.check_bench"


@dataclass(frozen=True)
class PlanChecks:
    """The candidates and cases of workloads, in order."""

    workloads: tuple[AnyWorkload, ...]

    def __call__(self, bench: CheckBench) -> Iterator[CheckPlan]:
        from autotune_cli.tuning.plan import plan

        for workload in self.workloads:
            cases = family(workload.operation).cases(workload)
            yield CheckPlan(workload, cases, plan(workload, bench.device).candidates)


@dataclass(frozen=True)
class Check:
    """Is the candidate right on this case?"""

    workload: AnyWorkload
    candidate: Candidate
    case: str

    def __call__(self, bench: CheckBench) -> Checked:
        return bench.check(self.workload, self.candidate, self.case)
