"""What a plan says in words: the lines above and below its table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autotune_cli.measure.statistics import Ratio
from autotune_cli.planning.records import Plan, Setting, StepChange
from autotune_cli.render.text import plural

# A plan names so many workloads that a setting slows down, kernels that can't be had, values that can't be taken.
_NAMED = 3


def ratio(value: Ratio | None) -> str:
    """``1.061x (1.054 .. 1.069)``."""
    return "unknown" if value is None else f"{value.value:.3f}x ({value.low:.3f} .. {value.high:.3f})"


def percent_more(value: Ratio) -> str:
    """``1.0 % (0.7 .. 1.3)``: how much longer."""
    low, middle, high = (100.0 * (each - 1.0) for each in (value.low, value.value, value.high))
    return f"{middle:.1f} % ({low:.1f} .. {high:.1f})"


def heading(plan: Plan) -> list[str]:
    """What was planned, of what."""
    version = "" if plan.version is None else f" {plan.version}"
    known = plan.version is None or plan.version_from in ("installed", "named")
    source = "" if known else f" ({plan.version_from})"
    weights = f"{plural(len(plan.rows), 'workload')}, {plan.weights}"
    return [f"one server of {plan.title}{version}{source} for {plan.name} on {plan.device}", f"weights: {weights}"]


def told(plan: Plan) -> list[str]:
    """The settings, a line each."""
    if not plan.settings:
        return [f"tell it nothing: no setting of {plan.title} beats its own choice beyond the intervals"]
    return [setting_line(setting) for setting in plan.settings]


def setting_line(setting: Setting) -> str:
    """A setting with what it gains and what it costs."""
    gained = setting.without if setting.gain is None else f"{ratio(setting.gain)} with it"
    return f"{setting.typed}  {gained}{costs(setting)}"


def costs(setting: Setting) -> str:
    """``; slower with it: attention.decode 64 x 1024 by 1.2 % (0.9 .. 1.5)``; empty: nothing is."""
    return f"; slower with it: {slowed(setting)}" if setting.costs else ""


def slowed(setting: Setting) -> str:
    """The workloads that are slower with a setting, and by how much; empty: none is."""
    named = [f"{cost.workload} by {percent_more(cost.ratio)}" for cost in setting.costs[:_NAMED]]
    more = f" and {plural(len(setting.costs) - _NAMED, 'other')}" if len(setting.costs) > _NAMED else ""
    return f"{', '.join(named)}{more}"


def outcome(plan: Plan) -> list[str]:
    """What the plan gains, and what each compromise loses."""
    return [gained(plan), f"{lost(plan)}:", *(f"  {line}" for line in losses(plan))]


def gained(plan: Plan) -> str:
    """The gain over the untuned server, or why there is none."""
    untuned = plan.untuned if plan.untuned_version is None else f"{plan.untuned} ({plan.untuned_version})"
    if plan.gain is None or plan.gain_mean is None:
        reasons = dict.fromkeys(row.untuned_missing for row in plan.rows if row.untuned_missing)
        reason = next(iter(reasons), "not measured")
        wrong = reason.startswith("incorrect")
        verdict = "none is counted, as what it runs is wrong" if wrong else "not known, so it may be a loss"
        return f"gain over {untuned}: {verdict}: {reason}"
    some = "" if plan.compared == len(plan.rows) else f", {plan.compared} of {plural(len(plan.rows), 'workload')}"
    mean = f"geometric mean of the workloads {plan.gain_mean.value:.3f}x"
    return f"the weighted step: {ratio(plan.gain)} over {untuned}{some}; {mean}"


def lost(plan: Plan) -> str:
    """What the plan's step loses against the best candidates."""
    return f"it takes {percent_more(plan.loss)} longer than each workload's best"


def losses(plan: Plan) -> list[str]:
    """What that loss is made of."""
    return [
        f"{percent_more(plan.compromise)} as one server can't be told anew for each workload",
        f"{percent_more(plan.untold)} as {plan.title} can't be told to run the rest",
    ]


def untold(plan: Plan) -> list[str]:
    """What the engine can't be told, a line a reason, with what it loses where that is most."""
    found: dict[str, list[tuple[float, str]]] = {}
    for row in plan.rows:
        if row.untold_reason:
            text = f"{row.best.label} in {row.result.workload.title} {row.result.workload.full_shape}"
            found.setdefault(row.untold_reason, []).append((row.untold.value, f"{text}: {percent_more(row.untold)}"))
    lines = []
    for reason, losses in sorted(found.items(), key=lambda item: -max(item[1])[0]):
        losses.sort(reverse=True)
        more = "" if len(losses) == 1 else f", and in {plural(len(losses) - 1, 'other')}"
        lines.append(f"can't be told: {losses[0][1]}{more}; {reason}")
    return lines


def step_lines(plan: Plan, every: bool = False) -> list[str]:
    """From microseconds to tokens: a line a kind of step; with ``every`` one a batch shape too."""
    if not plan.layers:
        return ["steps: the result's model isn't known, so neither are its layers"] if plan.rows else []
    return [step_line(change) for change in plan.changes if every or not change.shape]


def step_line(change: StepChange) -> str:
    """``decode step, mean of its workloads, 32 layers: attention 5.89 ms, -0.130 ± .047 ms; -0.6 % of 21 ms``."""
    of = change.shape or "mean of its workloads"
    name = _step_name(change)
    kernels = "top-k" if change.step == "top-k" else "attention"
    line = f"{name}, {of}, {plural(change.layers, 'layer')}: {kernels} {change.attention_ms:.3g} ms, "
    line += f"{change.change_ms:+.3f} ± {change.half_ms:.3f} ms"
    if change.share is not None and change.step_ms is not None:
        line += f"; {100.0 * change.share:+.2f} % of {change.step_ms:g} ms"
    return line


def _step_name(change: StepChange) -> str:
    names = {"prefill": "prefill chunk", "top-k": "top-k of a step"}
    return names.get(change.step, f"{change.step} step")


def doubts(plan: Plan) -> list[str]:
    """What to know before it is used."""
    lines = list(plan.notes)
    lines += [f"{text}: {reason}" for text, reason in grouped(plan.left_out)]
    required = dict.fromkeys(name for row in plan.rows for name in row.result.required)
    if required:
        lines.append(f"only kernels that were shown to be {', '.join(required)} are planned, as the result requires")
    if plan.stand_ins:
        lines.append(f"not {plan.title}'s own kernels but in their place: {', '.join(plan.stand_ins)}")
    if plan.tied > 1:
        line = f"{plan.tied} of {plan.considered} servers can't be told from the fastest"
        lines.append(f"{line}: the one with the fewest settings was taken")
    lines += [line for change in plan.changes if not change.shape and (line := _too_short(change))]
    if plan.rough:
        line = f"~ measured once only: {plural(plan.rough, 'workload')} of {len(plan.rows)}"
        lines.append(f"{line}; to the end: {measure_command(plan)}")
    if plan.unmeasured:
        line = f"not measured for all workloads, so not planned: {', '.join(name for name, _ in plan.unmeasured)}"
        _, server = plan.unmeasured[len(plan.unmeasured) // 2]
        lines.append(f"{line}; measure one: {measure_command(plan, server)}")
    return lines


def _too_short(change: StepChange) -> str:
    """What is wrong with a step that is shorter than its attention; empty: it isn't."""
    if not change.is_too_long:
        return ""
    said = f"a {_step_name(change)} of {change.step_ms:g} ms is shorter than the attention of its workloads"
    return f"{said} ({change.before_ms:.3g} ms untuned), so no share is told: weigh them as that server runs them"


def grouped(left_out: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Workloads that are left out, by the reason."""
    found: dict[str, list[str]] = {}
    for workload, reason in left_out:
        found.setdefault(reason, []).append(workload)
    shown = {
        reason: f"left out: {keys[0] if len(keys) == 1 else plural(len(keys), 'workload')}"
        for reason, keys in found.items()
    }
    return [(text, reason) for reason, text in shown.items()]


def rejected(plan: Plan) -> list[str]:
    """Values that the engine has and no server with a price."""
    return [f"not planned with {name}: {reason}" for name, reason in plan.rejected]


def measure_command(plan: Plan, server: str | None = None) -> str:
    """The command that measures a server to the end, as a baseline is; None: the planned one."""
    return f"{shlex.join(plan.command)} --baseline '{server or plan.baseline.name}'"
