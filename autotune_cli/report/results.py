"""From a run file to the parts of the page: one for each device whose results it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autotune_cli.measure.floor import share_of_floor
from autotune_cli.measure.weighted import weighted_gain
from autotune_cli.plain_text import shown
from autotune_cli.render import baselines
from autotune_cli.render.constraints import constraint_lines
from autotune_cli.render.devices import by_device, how_measured
from autotune_cli.render.lengths import frozen_lines, length_rows
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.run_header import header
from autotune_cli.render.run_rows import candidate_cells, workload_row
from autotune_cli.render.run_totals import counts
from autotune_cli.render.run_warnings import warnings_of
from autotune_cli.render.text import batch_and_context, microseconds, operation, rough, speedup, with_interval
from autotune_cli.render.traffic import traffic_lines
from autotune_cli.report.environment import environment_facts
from autotune_cli.report.history import history_of
from autotune_cli.report.model import (
    CandidateRow,
    Failure,
    Mean,
    ResultPart,
    Speedup,
    TimePoint,
    WorkloadPart,
)
from autotune_cli.report.plan import plan_part
from autotune_cli.results.schema import (
    FAILED,
    MEASURED,
    CandidateResult,
    CaseEvidence,
    RunFile,
    WorkloadResult,
)


def result_parts(path: Path, run: RunFile, baseline: str | None, side: str = "") -> tuple[ResultPart, ...]:
    """The parts of a file, the device of the run that wrote it first.

    Args:
        baseline: name of what the speed-ups are over in the first place; None: each workload's default.
        side: ``A`` or ``B`` where two files are shown.
    """
    run = shown_record(run)
    parts = []
    for number, (environment, results) in enumerate(by_device(run)):
        where = f"{(side or 'r').lower()}{number}"
        measured = how_measured(run, environment, results)
        names = _over(results, baseline)
        called = _names(results)
        workloads = [
            _workload(f"{where}-w{index}", called[index], result, names) for index, result in enumerate(results)
        ]
        parts.append(
            ResultPart(
                id=where,
                side=side,
                name=run.name,
                device=environment.device,
                path=shown(str(path)),
                header=(
                    *header(*measured),
                    *baselines.lines(results, baseline),
                    *(() if run.traffic is None else traffic_lines(run.traffic)),
                ),
                means=tuple(_means(results, names)),
                counts=counts(results),
                warnings=tuple(warnings_of(results)),
                baselines=tuple(names),
                workloads=tuple(workloads),
                failures=tuple(_failures(workloads, results)),
                environment=environment_facts(run, *measured, results),
                # Of two files the newer one's: nobody starts a server by the older.
                plan=None if side == "A" else plan_part(run, results, workloads, baseline),
            )
        )
    return tuple(parts)


def _over(results: Sequence[WorkloadResult], baseline: str | None) -> list[str]:
    """The baselines over which there is a speed-up, the one that was asked for first."""
    names = [name for name in baselines.names(results) if baselines.mean_over(results, name)[1]]
    if baseline is not None and baseline in baselines.names(results):
        names = [baseline, *(name for name in names if name != baseline)]
    return names


def _means(results: Sequence[WorkloadResult], names: Sequence[str]) -> list[Mean]:
    found = []
    for name in names:
        mean, count = baselines.mean_over(results, name)
        if mean is not None:
            spread = f"{mean.low:.2f} to {mean.high:.2f}" if count > 1 else ""
            found.append(Mean(baselines.words(results, name), f"{mean.value:.2f}", spread, count))
        gain = weighted_gain(results, name)
        if gain is not None:
            ends = "" if gain.interval is None else f"{gain.interval[0]:.3f} to {gain.interval[1]:.3f}"
            of = "gain per weighted step of"
            found.append(Mean(baselines.words(results, name), f"{gain.value:.3f}", ends, gain.workloads, of))
    return found


def _names(results: Sequence[WorkloadResult]) -> list[str]:
    """The workloads in a few words; by their keys where two would have the same, as with two geometries."""
    found = []
    for result in results:
        batch, context = batch_and_context(result.workload)
        found.append(f"{operation(result.workload)} {batch} x {context} {result.workload.mode}")
    often = Counter(found)
    return [result.key if often[name] > 1 else name for name, result in zip(found, results, strict=True)]


def _workload(where: str, name: str, result: WorkloadResult, names: Sequence[str]) -> WorkloadPart:
    row = workload_row(result, names[0] if names else None)
    times = tuple(_times(result, names[0] if names else None))
    held = next((point for point in times if point.series == "baseline"), None)
    return WorkloadPart(
        id=where,
        name=name,
        key=result.key,
        operation=result.workload.operation,
        title=row.operation,
        batch=row.batch,
        context=row.context,
        mode=row.mode,
        winner=row.winner,
        winner_is_default=row.winner_is_default,
        time=row.time,
        baseline=row.baseline if held is None else with_interval(held.us, held.interval),
        roofline=microseconds(result.floor_us),
        floor=row.floor,
        ties=row.ties,
        speedups=tuple(_speedup(result, name) for name in names),
        candidates=tuple(_candidate(each, result) for each in sorted(result.candidates, key=_by_time)),
        history=history_of(result),
        sizes=tuple(result.workload.sizes.items()),
        times=times,
        lengths=tuple(length_rows(result)),
        facts=tuple(_facts(result)),
    )


def _speedup(result: WorkloadResult, name: str) -> Speedup:
    held = result.baseline(name)
    if held is None or held.speedup is None:
        word = baselines.cell(result, name)
        return Speedup(word if word in ("wrong", "missing") else "-")
    return Speedup(speedup(held.speedup, held.speedup_interval), held.speedup, held.speedup_interval)


def _candidate(candidate: CandidateResult, result: WorkloadResult) -> CandidateRow:
    return CandidateRow(*candidate_cells(candidate, result))


def _by_time(candidate: CandidateResult) -> tuple[int, float, str]:
    group = 0 if candidate.status in MEASURED else 1 if candidate.rough_us else 2
    return group, candidate.median_us or candidate.rough_us or 0.0, candidate.key


def _times(result: WorkloadResult, baseline: str | None) -> list[TimePoint]:
    """Of the winner, of the baseline where it is right, and of the roofline."""
    found = []
    if result.choice is not None:
        winner = result.candidate(result.choice.winner)
        if winner.median_us is not None:
            found.append(TimePoint("winner", winner.median_us, winner.interval_us))
    held = result.baseline(baseline)
    if held is not None and held.candidate is not None and held.missing is None:
        measured = result.timed(result.candidate(held.candidate))
        if measured.status in MEASURED and measured.median_us is not None:
            found.append(TimePoint("baseline", measured.median_us, measured.interval_us))
    if result.floor_us is not None:
        found.append(TimePoint("floor", result.floor_us))
    return found


def _facts(result: WorkloadResult) -> list[str]:
    found = [*frozen_lines(result), *constraint_lines([result])]
    if result.floor_us is not None and result.choice is not None:
        share = share_of_floor(result, result.candidate(result.choice.winner))
        if share is not None:
            found.append(f"The roofline's floor is {result.floor_us:.4g} us; the winner stands at {100 * share:.0f} %.")
    if result.noise is not None:
        found.append(f"Two copies of one candidate were {100 * result.noise:.2f} % apart.")
    if result.choice is not None:
        found.append(f"Why this winner: {result.choice.reason}.")
    if result.stopped:
        found.append(f"Why the race ended: {result.stopped}.")
    if result.reused:
        found.append("Taken from the cache.")
    return found


def _failures(parts: Sequence[WorkloadPart], results: Sequence[WorkloadResult]) -> list[Failure]:
    found = []
    for part, result in zip(parts, results, strict=True):
        for candidate in result.candidates:
            if candidate.status in FAILED:
                found.append(
                    Failure(
                        workload=part,
                        candidate=candidate.label,
                        is_default=candidate.default,
                        status=candidate.status.replace("_", " "),
                        time=rough(candidate.rough_us) if candidate.rough_us else "-",
                        reason=candidate.reason or "",
                        evidence=tuple(_evidence(case) for case in candidate.evidence if not case.ok),
                    )
                )
    # Wrong ones first: they ran, and nobody would have noticed.
    return sorted(found, key=lambda failure: failure.status != "incorrect")


def _evidence(case: CaseEvidence) -> str:
    error = "not a number" if case.error is None else f"{case.error:.4g}"
    limit = "" if case.limit is None else f", allowed {case.limit:.4g}"
    told = f": {case.message}" if case.message else ""
    return f"{case.case}: {case.measure} {error}{limit}{told}"
