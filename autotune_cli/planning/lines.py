"""The lines of a plan: each setting with what it gains and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_cli.planning.configurations import Missing, Servers, Values
from autotune_cli.planning.records import Cost, Ran, Setting
from autotune_cli.planning.times import Weighed, ratio_of, ratio_of_steps
from autotune_cli.results.schema import WorkloadResult


def lines_of(
    servers: Servers, results: Sequence[WorkloadResult], weight: Mapping[str, float], values: Values
) -> tuple[Setting, ...]:
    """The settings that are told to the server, each against the same server without it."""
    found = []
    for knob, value in servers.settings(values):
        names = servers.server.together.get(knob.option, (knob.name,))
        without = {name: "" if name in names else text for name, text in values.items()}
        # An option that names one of two backends can't be left out alone.
        for several in servers.server.together.values():
            if knob.name in several and knob.name not in servers.server.together:
                other = next((values.get(name, "") for name in several if name != knob.name), "")
                without = {**without, knob.name: other}
        found.append(
            _line(servers, results, weight, values, without, knob.name, value, knob.written(value), bool(knob.variable))
        )
    return tuple(found)


def _line(
    servers: Servers,
    results: Sequence[WorkloadResult],
    weight: Mapping[str, float],
    values: Values,
    without: Values,
    name: str,
    value: str,
    typed: str,
    variable: bool,
) -> Setting:
    rule = servers.broken(without)
    if rule is not None:
        return Setting(name, value, typed, variable, None, f"can't be left out: {rule.reason}")
    ours, theirs, costs = [], [], []
    for result in results:
        own, other = servers.price(result, values), servers.price(result, without)
        assert isinstance(own, Ran)
        if isinstance(other, Missing):
            return Setting(name, value, typed, variable, None, f"without it {result.workload.title}: {other.reason}")
        with_it = Weighed(weight[result.key], own.key, own.time)
        without_it = Weighed(weight[result.key], other.key, other.time)
        ours.append(with_it)
        theirs.append(without_it)
        ratio = ratio_of(with_it, without_it)
        if ratio.low > 1.0:
            costs.append(Cost(f"{result.workload.title} {result.workload.full_shape}", ratio))
    gain = ratio_of_steps(theirs, ours)
    worst_first = tuple(sorted(costs, key=lambda cost: -cost.ratio.value))
    return Setting(name, value, typed, variable, gain, "", worst_first)
