"""What a race has come to: the winner, what casts doubt on it, and the workload's result."""

from __future__ import annotations

from datetime import UTC, datetime

from autotune_cli.measure.statistics import median
from autotune_cli.results.schema import Choice, WorkloadResult
from autotune_cli.tuning.baselines import judged
from autotune_cli.tuning.choose import choose
from autotune_cli.tuning.constraint import constraint_cost
from autotune_cli.tuning.outcome import finished_candidate
from autotune_cli.tuning.pace import NO_TIME
from autotune_cli.tuning.race import Race
from autotune_cli.tuning.task import Findings, Task


def decide(task: Task, findings: Findings, race: Race) -> Choice | None:
    """The choice on what was measured so far; None: there is no candidate left, or no round yet."""
    baselines = task.planned.baselines
    return choose(
        {key: race.times[key] for key in race.running},
        race.running,
        findings.default,
        race.margin,
        over=baselines[0].name if baselines else "default",
        held=task.held,
        compared=race.compared,
        barred=race.barred,
    )


def why_stopped(findings: Findings, race: Race, stopped: str) -> str:
    """However clear the race was: what lacks candidates must not be passed off as the whole by the cache."""
    if findings.unjudged is not None:
        return "reference"
    skipped = any(result.status == "skipped" for result in findings.results.values())
    if skipped or findings.is_unchecked or any(why == NO_TIME for why in race.dropped.values()):
        return "budget"
    return "killed" if findings.killed else stopped


def overlooked_warning(findings: Findings, race: Race, choice: Choice | None) -> str | None:
    """A candidate that was far faster before the race than the winner is in it, and that was not raced against it."""
    left = race.overlooked(choice.winner) if choice is not None else []
    if choice is None or not left:
        return None
    fastest = min(left, key=lambda key: race.rough[key])
    winner_us = median(list(race.times[choice.winner].values()))
    others = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    return (
        f"{findings.results[fastest].label}{others} took {race.rough[fastest]:.4g} us when it was checked, the winner "
        f"{winner_us:.4g} us in the race, and it was not raced against it: {race.dropped[fastest]}"
    )


def workload_result(task: Task, findings: Findings, race: Race, stopped: str, wall_s: float) -> WorkloadResult:
    """The result of the workload as the file has it.

    Args:
        stopped: why the race ended; see :attr:`autotune_cli.results.schema.WorkloadResult.stopped`.
    """
    results = dict(findings.results)
    for key, why in race.dropped.items():
        if why == NO_TIME and not race.times[key] and results[key].status == "ok":
            results[key] = results[key].model_copy(update={"status": "skipped", "reason": why})
    choice = decide(task, findings, race)
    winner = choice.winner if choice else None
    copies = sorted(race.copies)
    constraint = None
    if choice is not None and task.settings.required:
        constraint = constraint_cost(choice.best, {key: race.times[key] for key in race.running}, race.barred)
    return WorkloadResult(
        workload=task.workload,
        key=task.key,
        environment=task.settings.environment,
        identity=dict(task.identity),
        candidates=tuple(finished_candidate(result, race) for result in results.values()),
        choice=choice,
        required=task.settings.required,
        constraint=constraint,
        baselines=tuple(judged(each, winner, results, race.times) for each in task.planned.baselines),
        conditions=tuple(findings.conditions),
        floor_us=task.floor_us,
        noise=race.noise,
        noise_of=race.copied if copies else None,
        noise_rounds=tuple(copies),
        noise_rounds_us=tuple(race.copies[number] for number in copies),
        stopped=stopped,
        warnings=tuple(findings.warnings),
        device_s=round(findings.device_s, 4),
        wall_s=round(wall_s, 3),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        card=task.card,
    )
