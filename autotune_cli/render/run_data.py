"""A run as data: the summary that ``--json`` prints, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from autotune_cli.measure.lengths import at_lengths
from autotune_cli.measure.noise import why_noisy
from autotune_cli.plain_text import csv_cell
from autotune_cli.render.baselines import mean_over, names
from autotune_cli.render.constraints import mean_costs
from autotune_cli.render.devices import by_device
from autotune_cli.render.run_rows import role
from autotune_cli.render.traffic import part_data, weighted_data
from autotune_cli.results.schema import CandidateResult, RunFile, WorkloadResult

COLUMNS: Final = (
    "workload", "operation", "mode", "device", "candidate", "label", "backend", "default", "choice", "status",
    "time_us", "low_us", "high_us", "rough_us", "rounds", "baselines", "reason", "weight",
)  # fmt: skip


def summary(path: Path, run: RunFile) -> dict[str, Any]:
    """The result's path and what each workload came to, with the means of each device. Times are microseconds."""
    means = [mean for environment, results in by_device(run) for mean in _means(environment.device, results)]
    return {
        "path": str(path),
        "complete": run.complete,
        "wall_s": run.wall_s,
        "noise_floor": run.noise_floor,
        "speedups": means,
        **_traffic(run),
        **_costs(run),
        "workloads": [_workload(result, run.environments[result.environment].device) for result in run.workloads],
    }


def _traffic(run: RunFile) -> dict[str, Any]:
    """What the weights are of, and the gain by them on each device."""
    if run.traffic is None:
        return {}
    gains = [gain for environment, results in by_device(run) for gain in weighted_data(environment.device, results)]
    return {"traffic": run.traffic.model_dump(), "weighted_speedups": gains}


def _means(device: str, results: Sequence[WorkloadResult]) -> list[dict[str, Any]]:
    """One a baseline; a mean over several devices would be of nothing."""
    found = []
    for name in names(results):
        mean, count = mean_over(results, name)
        if mean is not None:
            ends = {"geometric_mean": mean.value, "low": mean.low, "high": mean.high}
            found.append({"device": device, "over": name, **ends, "workloads": count})
    return found


def _costs(run: RunFile) -> dict[str, Any]:
    """Geometric means of what is required, each of one device; nothing where nothing is."""
    costs = [
        {"device": environment.device, "required": name, "geometric_mean": mean.value, "low": mean.low,
         "high": mean.high, "workloads": count}
        for environment, results in by_device(run)
        for name, mean, count in mean_costs(results)
    ]  # fmt: skip
    return {"costs": costs} if costs else {}


def _workload(result: WorkloadResult, device: str) -> dict[str, Any]:
    choice = result.choice
    winner = None if choice is None else result.candidate(choice.winner)
    return {
        "workload": result.key,
        "device": device,
        "winner": None if winner is None else winner.key,
        "time_us": None if winner is None else winner.median_us,
        "interval_us": None if winner is None else winner.interval_us,
        "default": None if choice is None else choice.default,
        "speedup": None if choice is None else choice.speedup,
        "over": None if choice is None else choice.over,
        "baselines": [
            baseline.model_dump(include={"name", "version", "backend", "candidate", "missing", "speedup"})
            for baseline in result.baselines
        ],
        "ties": 0 if choice is None else len(choice.tie_set),
        "incorrect": [candidate.key for candidate in result.candidates if candidate.status == "incorrect"],
        "too_noisy": why_noisy(result),
        "reused": result.reused,
        **_lengths(result),
        **part_data(result.stands_for, result.weight),
        **_required(result),
    }


def _lengths(result: WorkloadResult) -> dict[str, Any]:
    """What the choice loses at each length, of a workload that has several."""
    found = at_lengths(result)
    rows = [{**vars(each), "best": each.best.key} for each in found]
    return {"lengths": rows} if rows else {}


def _required(result: WorkloadResult) -> dict[str, Any]:
    """What a winner must keep, what that costs, and which candidates don't; of a workload that requires something."""
    if not result.required:
        return {}
    cost = result.constraint
    broken = {candidate.key: candidate.broken for candidate in result.candidates if candidate.broken}
    return {
        "required": list(result.required),
        "constraint": None if cost is None else cost.model_dump(),
        "broken": broken,
    }


def run_csv(run: RunFile) -> str:
    """One row a candidate of each workload, in the file's order."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in run.workloads:
        device = run.environments[result.environment].device
        for candidate in result.candidates:
            writer.writerow([csv_cell(value) for value in _row(result, device, candidate)])
    return stream.getvalue()


def _row(result: WorkloadResult, device: str, candidate: CandidateResult) -> tuple[object, ...]:
    low, high = candidate.interval_us or (None, None)
    held = " | ".join(baseline.name for baseline in result.baselines if baseline.candidate == candidate.key)
    return (
        result.key, result.workload.operation, result.workload.mode, device, candidate.key, candidate.label,
        candidate.backend, int(candidate.default), role(result, candidate), candidate.status, candidate.median_us,
        low, high, candidate.rough_us, len(candidate.rounds), held, candidate.reason, result.weight,
    )  # fmt: skip
