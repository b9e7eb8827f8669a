"""Choosing the settings of one server for all workloads of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_cli.errors import BadField
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.measure.statistics import Ratio
from autotune_cli.planning.comparing import Untuned, row_of, untuned_of
from autotune_cli.planning.configurations import NOT_MEASURED, Missing, Servers
from autotune_cli.planning.lines import lines_of
from autotune_cli.planning.model import ModelOfResult, model_of
from autotune_cli.planning.pins import parse_pins
from autotune_cli.planning.records import NoPlan, Plan, Ran, Row
from autotune_cli.planning.server import load_server
from autotune_cli.planning.times import Time, Weighed, mean_of_ratios, ratio_of_steps, step_of
from autotune_cli.planning.tokens import changes_of
from autotune_cli.planning.weights import weights_of
from autotune_cli.results.schema import RunFile, WorkloadResult


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


@dataclass(frozen=True)
class _Option:
    """A server that can be run and priced."""

    values: dict[str, str]
    parts: tuple[Weighed, ...]
    step: Time
    told: int
    """How many settings it needs."""


def plan_of(run: RunFile, request: Request) -> Plan:
    """The plan for the results of a file, which are of one device.

    Raises:
        NoPlan: no setting of the engine can be priced for all workloads.
        UnknownName: an engine, a baseline, a setting or a value that isn't known.
        BadField: a pin that can't be kept, weights that make no sense.
    """
    engine = request.engine or _engine_of(run)
    server = load_server(engine)
    bare = parse_baseline(engine)
    version = request.version or bare.version
    pins = parse_pins(server, version, request.pins)
    of_result = model_of(run)
    model_type = "" if of_result is None else of_result.model.model_type
    weights = weights_of(run.workloads, request.weights)
    servers = Servers(server, version, run.device, run.workloads, model_type, frozenset(pins))
    layers = _layers(run.workloads, of_result)

    results, left_out = _priceable(servers, weights.by_workload, pins)
    if not results:
        reasons = dict.fromkeys(reason for _, reason in left_out)
        raise NoPlan(
            engine=server.table.title, detail=f"of no workload is a kernel known that it runs: {_few(reasons)}"
        )
    calls = {} if weights.has_layers else layers
    weight = {result.key: weights.by_workload[result.key] * calls.get(result.key, 1) for result in results}
    options, usable = _options(servers, results, weight, pins, request.pins)
    chosen, tied = _choose(options)
    untuned = untuned_of(run, servers, request.baseline, request.version)
    rows = _rows(servers, results, weight, chosen, untuned)
    compared = [row for row in rows if row.untuned is not None]
    rejected = _rejected(servers, results, usable)
    before = [_weighed(row, row.untuned) for row in compared if row.untuned is not None]
    after = [_weighed(row, row.runs) for row in compared]
    reachable = [_weighed(row, row.reachable) for row in rows]
    best = [_weighed(row, row.best) for row in rows]
    model = None if of_result is None else of_result.model
    return Plan(
        name=run.name,
        device=run.device.device,
        engine=engine,
        title=server.table.title,
        version=version,
        version_from="named" if request.version else bare.version_from,
        read_in=server.read_in,
        launch=server.launch,
        model="" if model is None else model.name,
        repository="" if model is None or "/" not in model.source or " " in model.source else model.source,
        tp=1 if of_result is None else of_result.tp,
        command=_without_baseline(run.command),
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
        unmeasured=_unmeasured(servers, rejected),
        pins=pins,
        changes=changes_of(rows, layers, request.step_ms, request.chunk_ms),
        notes=_notes(servers, chosen.values),
    )


def _without_baseline(command: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    words = iter(command)
    for word in words:
        if word == "--baseline":
            next(words, None)
        elif not word.startswith("--baseline="):
            kept.append(word)
    return tuple(kept)


def _weighed(row: Row, ran: Ran) -> Weighed:
    return Weighed(row.weight, ran.key, ran.time)


def _ratio(slow: Sequence[Weighed], fast: Sequence[Weighed]) -> Ratio:
    found = ratio_of_steps(slow, fast)
    assert found is not None
    return found


def _rejected(
    servers: Servers, results: Sequence[WorkloadResult], usable: Mapping[str, set[str]]
) -> tuple[tuple[str, str], ...]:
    """Values of settings that no server which serves all workloads has, with the first reason that was met."""
    found: dict[str, str] = {}
    for knob in servers.knobs:
        for value in servers.server.values(knob):
            name = value if knob.option and servers.names_backend(knob.name) else knob.written(value)
            if not value or value in usable[knob.name] or name in found:
                continue
            concerned = [each for each in results if servers.concerns(knob, each.workload.operation)]
            reasons = (_why_not(servers, result, {knob.name: value}) for result in concerned)
            found[name] = next(filter(None, reasons), "not measured for all workloads with any other setting")
    return tuple(found.items())


def _unmeasured(servers: Servers, rejected: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Of the values that no server has, those that some workload has a time for and another only lacks one for."""
    partly = {knob.written(value) for knob in servers.knobs for value in servers.useful(knob) if value}
    return tuple(name for name, reason in rejected if name in partly and reason.endswith(NOT_MEASURED))


def _why_not(servers: Servers, result: WorkloadResult, values: Mapping[str, str]) -> str:
    priced = servers.price(result, values)
    if isinstance(priced, Missing):
        return f"{result.workload.title} {result.workload.shape}: {priced.reason}"
    rule = servers.broken(values, [result])
    return "" if rule is None else rule.reason


def _notes(servers: Servers, values: Mapping[str, str]) -> tuple[str, ...]:
    """What to know about the chosen settings."""
    found = []
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


def _priceable(
    servers: Servers, weights: Mapping[str, float], pins: Mapping[str, str]
) -> tuple[list[WorkloadResult], list[tuple[str, str]]]:
    """The workloads that some settings have a time for; and the others, with the reason of the engine's own choice."""
    combinations = [values for values in servers.combinations({}) if servers.broken(values) is None]
    results, left_out = [], []
    for result in servers.results:
        if not weights[result.key]:
            left_out.append((result.key, "no weight"))
        elif result.choice is None:
            left_out.append((result.key, "no candidate is right"))
        elif any(isinstance(servers.price(result, values), Ran) for values in combinations):
            results.append(result)
        else:
            missing = servers.price(result, pins)
            left_out.append((result.key, missing.reason if isinstance(missing, Missing) else "its rules forbid it"))
    return results, left_out


def _options(
    servers: Servers,
    results: Sequence[WorkloadResult],
    weight: Mapping[str, float],
    pins: Mapping[str, str],
    typed: Sequence[str],
) -> tuple[list[_Option], dict[str, set[str]]]:
    """All servers that serve all of the workloads, and the values that knobs have in them.

    Args:
        typed: the pins as the user has them.

    Raises:
        BadField: pins leave none. NoPlan: there is none without pins either.
    """
    options: dict[tuple[str, ...], _Option] = {}
    usable: dict[str, set[str]] = {}
    forbidden: dict[str, int] = {}
    unpriced: dict[str, int] = {}
    for values in servers.combinations(pins):
        rule = servers.broken(values)
        if rule is not None:
            text = f"{rule.reason} ({rule.source})"
            forbidden[text] = forbidden.get(text, 0) + 1
            continue
        priced = [(result, servers.price(result, values)) for result in results]
        missing = [(result, ran) for result, ran in priced if isinstance(ran, Missing)]
        if missing:
            result, lacking = missing[0]
            text = f"{result.workload.title} {result.workload.shape}: {lacking.reason}"
            unpriced[text] = unpriced.get(text, 0) + 1
            continue
        parts = tuple(Weighed(weight[result.key], ran.key, ran.time) for result, ran in priced if isinstance(ran, Ran))
        for name, value in values.items():
            usable.setdefault(name, set()).add(value)
        option = _Option(values, parts, step_of(parts), len(servers.settings(values)))
        # Of servers that run the same kernels, the one that is told least; of those the first.
        keys = tuple(part.candidate for part in parts)
        if keys not in options or option.told < options[keys].told:
            options[keys] = option
    if not options:
        # Rules forbid some combination always; they are the reason only where they leave none.
        reasons = unpriced or forbidden
        why = _few(sorted(reasons, key=lambda reason: -reasons[reason]))
        if pins:
            raise BadField("pin", f"no server with {', '.join(typed)} can be planned: {why}")
        raise NoPlan(engine=servers.server.table.title, detail=f"no settings serve all workloads: {why}")
    return list(options.values()), usable


def _choose(options: Sequence[_Option]) -> tuple[_Option, int]:
    """Of the servers that can't be told from the fastest, the one that is told least; and how many they are.

    Of those that are told as much it is the first in the order of the engine's file, smaller pages first, and not the
    fastest: so two results of the same kernels give the same plan.
    """
    fastest = min(options, key=lambda option: option.step.us)
    tied = [option for option in options if option is fastest or _is_tied(option, fastest)]
    return min(tied, key=lambda option: option.told), len(tied)


def _is_tied(option: _Option, fastest: _Option) -> bool:
    ratio = ratio_of_steps(option.parts, fastest.parts)
    return ratio is not None and ratio.low <= 1.0


def _rows(
    servers: Servers,
    results: Sequence[WorkloadResult],
    weight: Mapping[str, float],
    chosen: _Option,
    untuned: Untuned,
) -> tuple[Row, ...]:
    allowed = [values for values in servers.combinations({}) if servers.broken(values) is None]
    return tuple(
        row_of(servers, result, part, chosen.values, chosen.step.us, allowed, untuned)
        for result, part in zip(results, chosen.parts, strict=True)
    )


def _few(texts: Sequence[str] | Mapping[str, object]) -> str:
    found = list(texts)
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more reasons" if len(found) > 3 else "")
