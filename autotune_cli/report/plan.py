"""One server for all workloads of a device, from the plan that ``autotune plan`` prints too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autotune_cli.errors import AutotuneError
from autotune_cli.plain_text import shown
from autotune_cli.planning.device import of_one_device
from autotune_cli.planning.plan import Request, plan_of
from autotune_cli.planning.records import NoPlan, Plan, Row, Setting
from autotune_cli.planning.server import server_names
from autotune_cli.render import plan_words as words
from autotune_cli.render.plan_formats import cells
from autotune_cli.render.text import plural
from autotune_cli.report.model import PlanPart, PlanRow, PlanSetting, Unplanned, WorkloadPart
from autotune_cli.results.schema import RunFile, WorkloadResult


def plan_part(
    run: RunFile, results: Sequence[WorkloadResult], parts: Sequence[WorkloadPart], baseline: str | None
) -> PlanPart | Unplanned | None:
    """The plan for the results of one device; None: they are no server's.

    Args:
        run: the file, of texts that can be shown.
        results: its results of the device.
        parts: of the page, one for each of ``results``.
        baseline: what gains are over, if it is the engine's; else the result's default.
    """
    known = [held for result in results for held in result.baselines if held.engine in server_names()]
    if not known or any(run.environments[result.environment].device_kind == "cpu" for result in results):
        return None
    engine = known[0].engine
    over = baseline if any(held.name == baseline and held.engine == engine for held in known) else None
    of_device = of_one_device(run.model_copy(update={"workloads": tuple(results)}), None)
    try:
        plan = plan_of(of_device, Request(engine=engine, baseline=over))
    except AutotuneError as error:
        return Unplanned(shown(str(error) if isinstance(error, NoPlan) else f"no plan: {error}"))
    by_result = {id(result): part for result, part in zip(results, parts, strict=True)}
    return _part(plan, by_result, run.complete)


def _part(plan: Plan, by_result: dict[int, WorkloadPart], complete: bool) -> PlanPart:
    partial = f"the file is not complete: the plan is for the {plural(len(plan.rows), 'workload')} that it has"
    return PlanPart(
        heading=tuple(words.heading(plan)),
        settings=tuple(map(_setting, plan.settings)),
        told=() if plan.settings else tuple(words.told(plan)),
        untuned=plan.untuned,
        gain=words.gained(plan),
        loss=words.lost(plan),
        losses=tuple(words.losses(plan)),
        steps=tuple(words.step_lines(plan)),
        rows=tuple(_row(row, by_result[id(row.result)]) for row in plan.rows),
        untold=tuple(words.untold(plan)),
        notes=(*(() if complete else (partial,)), *_ungained(plan), *words.doubts(plan)),
    )


def _ungained(plan: Plan) -> list[str]:
    """Why some workloads have no gain; where none has one, the gain of the step says it."""
    if not plan.compared:
        return []
    reasons = Counter(row.untuned_missing for row in plan.rows if row.untuned is None)
    return [f"no gain for {plural(number, 'workload')}: {reason}" for reason, number in reasons.items()]


def _setting(setting: Setting) -> PlanSetting:
    gain = setting.without if setting.gain is None else words.ratio(setting.gain)
    return PlanSetting(setting.typed, gain, words.slowed(setting))


def _row(row: Row, part: WorkloadPart) -> PlanRow:
    _, _, share, runs, time, gain, best, loss = cells(row)
    return PlanRow(part, share, runs, time, gain, row.gain, best, loss, row.loss)
