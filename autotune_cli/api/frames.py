"""A run as pandas frames. Times are microseconds.

docs/api.md says what each column is; a test holds its tables against the names here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotune_cli.api.columns import FLOAT, INTEGER, TEXT, YES_OR_NO, Table, as_json, fields_of
from autotune_cli.errors import MissingPackage
from autotune_cli.measure.floor import share_of_floor
from autotune_cli.measure.statistics import Ratio, paired_ratio
from autotune_cli.results.schema import (
    BaselineResult,
    CandidateResult,
    Conditions,
    Environment,
    RunFile,
    WorkloadResult,
)

if TYPE_CHECKING:
    import pandas as pd

# The extra that brings pandas, and pyarrow for Parquet.
FIX = "pip install 'kernel-autotune[pandas]'"

_WORKLOAD = {"workload": TEXT, "operation": TEXT, "mode": TEXT}
_MEASURED = {"device": TEXT, "device_kind": TEXT, "driver": TEXT, "cuda": TEXT, "card": TEXT, "measured_at": TEXT,
             "reused": YES_OR_NO, "noise": FLOAT, "floor_us": FLOAT, "weight": FLOAT}  # fmt: skip
_CANDIDATE = {
    "candidate": TEXT, "label": TEXT, "backend": TEXT, "knobs": TEXT, "status": TEXT, "reason": TEXT, "fix": TEXT,
    "same_as": TEXT, "is_winner": YES_OR_NO, "is_tied": YES_OR_NO, "is_default": YES_OR_NO, "median_us": FLOAT,
    "low_us": FLOAT, "high_us": FLOAT, "rough_us": FLOAT, "rounds": INTEGER, "share_of_floor": FLOAT, "plan_us": FLOAT,
    "launch_us": FLOAT, "build_s": FLOAT, "baselines": TEXT,
}  # fmt: skip
_ROUND = {
    "workload": TEXT, "device": TEXT, "candidate": TEXT, "round": INTEGER, "second_copy": YES_OR_NO, "us": FLOAT,
    "sm_clock_mhz": FLOAT, "memory_clock_mhz": FLOAT, "temperature_c": FLOAT, "power_w": FLOAT, "throttle": TEXT,
}  # fmt: skip


def candidates_frame(run: RunFile) -> pd.DataFrame:
    """One row a candidate of a workload.

    Raises:
        MissingPackage: pandas is not installed.
    """
    table = Table(_WORKLOAD, _MEASURED, _CANDIDATE, {})
    for result in run.workloads:
        environment = run.environments[result.environment]
        # The family's own fields: heads, batch, lengths ...
        fields = list(fields_of(result.workload))
        table.add_columns(0, {name: kind for name, kind, _ in fields})
        versions = {f"version_{name}": version for name, version in environment.libraries.items()}
        table.add_columns(1, dict.fromkeys(versions, TEXT))
        shared = {name: value for name, _, value in fields} | versions | _measured(result, environment)
        for candidate in result.candidates:
            gains = dict(_speedups(result, candidate))
            table.add_columns(3, dict.fromkeys(gains, FLOAT))
            table.add_row(shared, _candidate(result, candidate), gains)
    return _frame(table)


def rounds_frame(run: RunFile) -> pd.DataFrame:
    """One row a round of a candidate; the second copy of the A/A comparison has rows of its own.

    Raises:
        MissingPackage: pandas is not installed.
    """
    table = Table(_ROUND)
    for result in run.workloads:
        readings = {reading.round: reading for reading in result.conditions}
        shared = {"workload": result.key, "device": run.environments[result.environment].device}
        copy = (result.noise_of, True, result.noise_rounds, result.noise_rounds_us)
        for key, second, rounds, times in [*((c.key, False, c.rounds, c.rounds_us) for c in result.candidates), copy]:
            for number, us in zip(rounds, times, strict=True):
                own = {"candidate": key, "round": number, "second_copy": second, "us": us}
                table.add_row(shared, own, _conditions(readings.get(number)))
    return _frame(table)


def _measured(result: WorkloadResult, environment: Environment) -> dict[str, object]:
    return {
        "workload": result.key,
        "device": environment.device,
        "device_kind": environment.device_kind,
        "driver": environment.driver,
        "cuda": environment.cuda,
        "card": result.card,
        "measured_at": result.measured_at,
        "reused": result.reused,
        "noise": result.noise,
        "floor_us": result.floor_us,
        "weight": result.weight,
    }


def _candidate(result: WorkloadResult, candidate: CandidateResult) -> dict[str, object]:
    choice = result.choice
    low, high = candidate.interval_us or (None, None)
    return {
        "candidate": candidate.key,
        "label": candidate.label,
        "backend": candidate.backend,
        "knobs": as_json(candidate.knobs),
        "status": candidate.status,
        "reason": candidate.reason,
        "fix": candidate.fix,
        "same_as": candidate.same_as,
        "is_winner": choice is not None and candidate.key == choice.winner,
        "is_tied": choice is not None and candidate.key in choice.tie_set,
        "is_default": candidate.default,
        "median_us": candidate.median_us,
        "low_us": low,
        "high_us": high,
        "rough_us": candidate.rough_us,
        "rounds": len(candidate.rounds),
        "share_of_floor": share_of_floor(result, candidate),
        "plan_us": candidate.host.plan_us,
        "launch_us": candidate.host.launch_us,
        "build_s": candidate.build_s,
        "baselines": " | ".join(held.name for held in result.baselines if held.candidate == candidate.key),
    }


def _speedups(result: WorkloadResult, candidate: CandidateResult) -> Iterator[tuple[str, object]]:
    """What the candidate gains over each baseline, with its 99 % interval."""
    is_winner = result.choice is not None and candidate.key == result.choice.winner
    for baseline in result.baselines:
        ratio = _recorded(baseline) if is_winner else _computed(result, baseline, candidate)
        for end, value in zip(("", " low", " high"), ratio or (None, None, None), strict=True):
            yield f"speedup over {baseline.name}{end}", value


def _recorded(baseline: BaselineResult) -> Ratio | None:
    """The winner's, as the run has it."""
    if baseline.speedup is None:
        return None
    return Ratio(baseline.speedup, *(baseline.speedup_interval or (baseline.speedup, baseline.speedup)))


def _computed(result: WorkloadResult, baseline: BaselineResult, candidate: CandidateResult) -> Ratio | None:
    """Another candidate's, in the same way: from the rounds that both were measured in."""
    held = next((other for other in result.candidates if other.key == baseline.candidate), None)
    if held is None or baseline.missing is not None:
        return None
    held = result.timed(held)
    if held == candidate:
        return Ratio(1.0, 1.0, 1.0) if held.rounds else None
    ratio = paired_ratio(held.us_by_round, candidate.us_by_round)
    return ratio if ratio is not None and ratio.low > 0.0 else None


def _conditions(reading: Conditions | None) -> dict[str, object]:
    return {} if reading is None else reading.model_dump(exclude={"round", "dropped"})


def _frame(table: Table) -> pd.DataFrame:
    pandas = _pandas()
    return pandas.DataFrame(
        {name: pandas.array(values, dtype=kind) for name, (kind, values) in table.columns().items()}
    )


def _pandas() -> Any:
    """The module, which nothing else here imports.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage(what="a frame", package="pandas", fix=FIX) from error
    return pandas
