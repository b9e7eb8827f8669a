"""What no planned server has, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_cli.planning.configurations import NOT_MEASURED, Missing, Servers
from autotune_cli.results.schema import WorkloadResult


def rejected_of(
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


def unmeasured_of(servers: Servers, rejected: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Of the values that no server has, those that some workload has a time for and another only lacks one for; each
    with a server that has it, by the name of a baseline.
    """
    partly = {
        knob.written(value): _server_with(servers, found)
        for knob in servers.knobs
        for value in servers.server.values(knob)
        if value and (found := servers.example(knob, value)) is not None
    }
    return tuple((name, partly[name]) for name, reason in rejected if name in partly and reason.endswith(NOT_MEASURED))


def _server_with(servers: Servers, values: Mapping[str, str]) -> str:
    """What one workload says nothing of has the same value as what it does: one attention backend for all steps."""
    found = dict(values)
    for names in servers.server.together.values():
        named = [found[name] for name in names if found.get(name)]
        if named:
            found |= dict.fromkeys(names, named[0])
    return servers.typed(found)


def _why_not(servers: Servers, result: WorkloadResult, values: Mapping[str, str]) -> str:
    priced = servers.price(result, values)
    if isinstance(priced, Missing):
        return f"{result.workload.title} {result.workload.full_shape}: {priced.reason}"
    rule = servers.broken(values, [result])
    return "" if rule is None else rule.reason
