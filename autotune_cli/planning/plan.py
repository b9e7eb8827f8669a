"""Choosing the settings of one server for all workloads of a result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_cli.errors import BadField
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.engines.data import within
from autotune_cli.measure.statistics import Ratio
from autotune_cli.planning.choosing import Option, choose, few, options_of, priceable
from autotune_cli.planning.comparing import Untuned, row_of, untuned_of
from autotune_cli.planning.configurations import Servers
from autotune_cli.planning.lines import lines_of
from autotune_cli.planning.model import ModelOfResult, model_of
from autotune_cli.planning.pins import parse_pins
from autotune_cli.planning.records import NoPlan, Plan, Ran, Row, StepChange
from autotune_cli.planning.rejecting import rejected_of, unmeasured_of
from autotune_cli.planning.server import load_server
from autotune_cli.planning.times import Weighed, mean_of_ratios, ratio_of_steps
from autotune_cli.planning.tokens import changes_of
from autotune_cli.planning.weights import weights_of
from autotune_cli.results.schema import RunFile, WorkloadResult

# Of the command that made a result, what another one has none of: options with a value, and one without.
_NOT_REPEATED = ("--baseline", "--budget")
_RESUME = "--resume"


@dataclass(frozen=True)
class Request:
    """What a plan is asked for."""

    engine: str | None = None
    """None: that of the result's default baseline, or SGLang."""
    version: str | None = None
    """None: the installed one, or the newest whose rules are known."""
    baseline: str | None = None
    """What gains are over, one of the result's baselines; None: its default."""
    weights: str | None = None
    """See :func:`.weights.weights_of`."""
    pins: tuple[str, ...] = ()
    step_ms: float | None = None
    """A decode step of the untuned server, in milliseconds."""
    chunk_ms: float | None = None
    """A prefill chunk of it."""


def plan_of(run: RunFile, request: Request) -> Plan:
    """The plan for the results of a file, which are of one device.

    Raises:
        NoPlan: no setting of the engine can be priced for all workloads.
        UnknownName: an engine, a baseline, a setting or a value that isn't known.
        BadField: a pin that can't be kept, weights, a version or a time of a step that make no sense.
    """
    for name, ms in (("step_ms", request.step_ms), ("chunk_ms", request.chunk_ms)):
        if ms is not None and not 0.0 < ms < math.inf:
            raise BadField(name, f"{ms} is no time of a step")
    if request.version is not None and not within(request.version, ""):
        raise BadField("engine_version", f"{request.version[:40]!r} is no version")
    engine = _engine_of(run) if request.engine is None else request.engine.strip().lower()
    server = load_server(engine)
    if not run.workloads:
        raise NoPlan(engine=server.table.title, detail="the result has no workload")
    bare = parse_baseline(engine)
    version = request.version or bare.version
    pins = parse_pins(server, version, request.pins)
    of_result = model_of(run)
    model_type = "" if of_result is None else of_result.model.model_type
    weights = weights_of(run.workloads, request.weights)
    servers = Servers(server, version, run.device, run.workloads, model_type, frozenset(pins))
    layers = _layers(run.workloads, of_result)

    results, left_out = priceable(servers, weights.by_workload, pins)
    if not results:
        reasons = dict.fromkeys(reason for _, reason in left_out)
        raise NoPlan(engine=server.table.title, detail=f"of no workload is a kernel known that it runs: {few(reasons)}")
    calls = {} if weights.has_layers else layers
    weight = {result.key: weights.by_workload[result.key] * calls.get(result.key, 1) for result in results}
    options, usable = options_of(servers, results, weight, pins, request.pins)
    chosen, tied = choose(options)
    untuned = untuned_of(run, servers, request.baseline, request.version)
    rows = _rows(servers, results, weight, chosen, untuned)
    compared = [row for row in rows if row.untuned is not None]
    rejected = rejected_of(servers, results, usable)
    before = [_weighed(row, row.untuned) for row in compared if row.untuned is not None]
    after = [_weighed(row, row.runs) for row in compared]
    reachable = [_weighed(row, row.reachable) for row in rows]
    best = [_weighed(row, row.best) for row in rows]
    model = None if of_result is None else of_result.model
    changes = changes_of(rows, layers, request.step_ms, request.chunk_ms)
    return Plan(
        name=run.name,
        device=run.device.device,
        engine=engine,
        title=server.table.title,
        version=version,
        version_from="named" if request.version else bare.version_from,
        read_in=server.read_in,
        model="" if model is None else model.name,
        repository="" if of_result is None else of_result.path,
        tp=1 if of_result is None else of_result.tp,
        command=_to_repeat(run.command),
        settings=lines_of(servers, results, weight, chosen.values),
        values=chosen.values,
        baseline=servers.baseline(chosen.values),
        untuned=untuned.name,
        untuned_version=untuned.version,
        weights=weights.source,
        layers=layers,
        rows=rows,
        left_out=tuple(left_out),
        step=chosen.step,
        gain=ratio_of_steps(before, after),
        gain_mean=mean_of_ratios(list(zip(before, after, strict=True))),
        compared=len(compared),
        compromise=_ratio(chosen.parts, reachable),
        untold=_ratio(reachable, best),
        loss=_ratio(chosen.parts, best),
        considered=len(options),
        tied=tied,
        rejected=rejected,
        unmeasured=unmeasured_of(servers, rejected),
        pins=pins,
        changes=changes,
        notes=(*_notes(servers, version, chosen.values), *_unused(request, changes)),
    )


def _to_repeat(command: Sequence[str]) -> tuple[str, ...]:
    """The command that made a result, without its baseline, its budget, and what is done only once."""
    kept: list[str] = []
    words = iter(command)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in (*_NOT_REPEATED, _RESUME):
            kept.append(word)
        elif not equals and name != _RESUME:
            next(words, None)
    return tuple(kept)


def _weighed(row: Row, ran: Ran) -> Weighed:
    return Weighed(row.weight, ran.key, ran.time)


def _ratio(slow: Sequence[Weighed], fast: Sequence[Weighed]) -> Ratio:
    found = ratio_of_steps(slow, fast)
    assert found is not None
    return found


def _unused(request: Request, changes: Sequence[StepChange]) -> list[str]:
    """Steps that were given, and of which nothing is known."""
    known = {change.step for change in changes}
    given = (("decode", "a decode step", request.step_ms), ("prefill", "a prefill chunk", request.chunk_ms))
    return [
        f"{what} of {ms:g} ms was given, and no change of one is known"
        for step, what, ms in given
        if ms is not None and step not in known
    ]


def _notes(servers: Servers, version: str | None, values: Mapping[str, str]) -> tuple[str, ...]:
    """What to know about the version and the chosen settings."""
    found = [text] if (text := servers.server.unread(version)) else []
    for names in servers.server.together.values():
        if len({values.get(name, "") for name in names if name in values}) > 1 and servers.server.apart:
            found.append(servers.server.apart)
    return tuple(found)


def _engine_of(run: RunFile) -> str:
    for result in run.workloads:
        if result.baselines and result.baselines[0].engine:
            return result.baselines[0].engine
    return "sglang"


def _layers(results: Sequence[WorkloadResult], model: ModelOfResult | None) -> dict[str, int]:
    if model is None:
        return {}
    found = {result.key: model.layers(result.workload) for result in results}
    return {key: count for key, count in found.items() if count is not None}


def _rows(
    servers: Servers,
    results: Sequence[WorkloadResult],
    weight: Mapping[str, float],
    chosen: Option,
    untuned: Untuned,
) -> tuple[Row, ...]:
    allowed = [values for values in servers.combinations({}) if servers.broken(values) is None]
    return tuple(
        row_of(servers, result, part, chosen.values, chosen.step.us, allowed, untuned)
        for result, part in zip(results, chosen.parts, strict=True)
    )
