"""The servers that an engine can be told to be: combinations of settings that its rules allow, and their kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune_cli.kernels.engines import Baseline, Resolved, Situation, resolve, situation_of, without_version
from autotune_cli.kernels.registry import Device
from autotune_cli.planning.records import Ran
from autotune_cli.planning.server import KnobRow, Rule, Server
from autotune_cli.planning.times import time_of
from autotune_cli.results.schema import Environment, WorkloadResult

Values = Mapping[str, str]
"""Of every knob, by name; ``""``: left alone."""


NOT_MEASURED = "was not measured here"


@dataclass(frozen=True)
class Missing:
    """Why a server's candidate for a workload has no time."""

    reason: str


@dataclass
class Servers:
    """Prices settings of an engine in a version with the times of one device's results."""

    server: Server
    version: str | None
    environment: Environment
    results: Sequence[WorkloadResult]
    model_type: str
    pinned: frozenset[str] = frozenset()
    """Knobs that the user has set: a stand-in for one of their kernels is what the user wants to see."""
    knobs: tuple[KnobRow, ...] = ()
    _priced: dict[tuple[str, tuple[str, ...]], Ran | Missing] = field(default_factory=dict)
    _situations: dict[str, Situation] = field(default_factory=dict)
    _useful: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _baselines: dict[str, Baseline] = field(default_factory=dict)
    _rules: tuple[Rule, ...] = ()
    _kinds: dict[str, Situation] = field(default_factory=dict)
    """One situation for all workloads that differ in their batch shapes only, of which no rule speaks."""
    _kind_of: dict[str, str] = field(default_factory=dict)
    _concerning: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    """By operation, of each knob: its name if it concerns the operation."""

    def __post_init__(self) -> None:
        operations = {result.workload.operation for result in self.results}
        self.knobs = tuple(
            knob for knob in self.server.knobs(self.version) if any(self.concerns(knob, name) for name in operations)
        )
        self._concerning = {
            name: tuple(knob.name if self.concerns(knob, name) else None for knob in self.knobs) for name in operations
        }
        self._rules = tuple(rule for rule in self.server.rule if rule.is_of(self.version))
        device = _device(self.environment)
        self._situations = {
            result.key: situation_of(result.workload, device, self.model_type) for result in self.results
        }
        for key, situation in self._situations.items():
            kind = repr(replace(situation, prefix=0, keys=0))
            self._kind_of[key] = kind
            self._kinds.setdefault(kind, situation)

    def concerns(self, knob: KnobRow, operation: str) -> bool:
        """Does a knob change anything for an operation?"""
        names = self.server.operations(knob)
        return not names or any(operation == name or operation.startswith(f"{name}.") for name in names)

    def combinations(self, pins: Values) -> Iterator[dict[str, str]]:
        """Every combination of values, before any rule; pinned knobs have one value each."""
        names = [knob.name for knob in self.knobs]
        tried = [(pins[knob.name],) if knob.name in pins else self.useful(knob) for knob in self.knobs]
        together = [[name for name in found if name in names] for found in self.server.together.values()]
        for values in itertools.product(*tried):
            found = dict(zip(names, values, strict=True))
            # Where an engine is told one of two, what it takes for the other depends on the model: both are named.
            if all(len({bool(found[name]) for name in several}) <= 1 for several in together):
                yield found

    def useful(self, knob: KnobRow) -> tuple[str, ...]:
        """The values of a knob with which some workload that it concerns has a time, with any values of the others."""
        if knob.name not in self._useful:
            values = self.server.values(knob)
            self._useful[knob.name] = tuple(value for value in values if value == "" or self.example(knob, value))
        return self._useful[knob.name]

    def example(self, knob: KnobRow, value: str) -> Values | None:
        """Settings with that value which the engine takes, and with which some workload that it concerns has a time."""
        for result in self.results:
            if not self.concerns(knob, result.workload.operation):
                continue
            beside = [
                other for other in self.knobs if other is not knob and self.concerns(other, result.workload.operation)
            ]
            for values in itertools.product(*(self.server.values(other) for other in beside)):
                found = dict(zip((other.name for other in beside), values, strict=True)) | {knob.name: value}
                if isinstance(self.price(result, found), Ran) and self.broken(found, [result]) is None:
                    return found
        return None

    def broken(self, values: Values, results: Sequence[WorkloadResult] | None = None) -> Rule | None:
        """The first rule that the settings break for a workload; None: the engine takes them."""
        options = {name: value for name, value in values.items() if value and not self._is_variable(name)}
        variables = {name: value for name, value in values.items() if value and self._is_variable(name)}
        defaults = self.server.table.defaults
        kinds = self._kinds if results is None else dict.fromkeys(self._kind_of[result.key] for result in results)
        for kind in kinds:
            situation = self._kinds[kind]
            given = {**options, **situation.server_options}
            asked = replace(situation, options=given, variables=variables)
            for rule in self._rules:
                if rule.hold(asked, self.version, defaults) and not _meets(rule, values, defaults):
                    return rule
        return None

    def price(self, result: WorkloadResult, values: Values) -> Ran | Missing:
        """What the server runs for a workload, with its time."""
        names = self._concerning[result.workload.operation]
        concerning = tuple("" if name is None else values.get(name, "") for name in names)
        key = (result.key, concerning)
        if key not in self._priced:
            known = {knob.name: value for knob, value in zip(self.knobs, concerning, strict=True)}
            self._priced[key] = self._price(result, known)
        return self._priced[key]

    def resolved(self, result: WorkloadResult, values: Values) -> Resolved:
        """What the engine's table says of a server with these settings."""
        return resolve(self.baseline(values), self._situations[result.key])

    def unlisted(self, result: WorkloadResult, name: str) -> Ran | Missing:
        """What a baseline runs that the result doesn't list for the workload."""
        baseline = replace(without_version(name), version=self.version)
        resolved = resolve(baseline, self._situations[result.key])
        if resolved.candidate is None:
            return Missing(resolved.missing or f"{name} is no baseline of it")
        return self.measured(result, resolved.candidate, resolved.stand_in or "")

    def baseline(self, values: Values) -> Baseline:
        """The server as a baseline, by the name that people type."""
        name = self.typed(values)
        if name not in self._baselines:
            self._baselines[name] = replace(without_version(name), version=self.version)
        return self._baselines[name]

    def typed(self, values: Values) -> str:
        """Variables, the engine, its options."""
        settings = self.settings(values)
        variables = [knob.written(value) for knob, value in settings if knob.variable]
        options = [knob.written(value) for knob, value in settings if not knob.variable]
        return " ".join([*variables, self.server.engine, *options])

    def settings(self, values: Values) -> list[tuple[KnobRow, str]]:
        """What the server is told: knobs that aren't left alone, or the option that stands for several that agree."""
        left = {name: value for name, value in values.items() if value}
        by_name = {knob.name: knob for knob in self.server.knob}
        found: list[tuple[KnobRow, str]] = []
        for option, names in self.server.together.items():
            same = {left.get(name, "") for name in names}
            if len(same) == 1 and (value := same.pop()):
                found.append((KnobRow(option=option, source=by_name[names[0]].source), value))
                left = {name: value for name, value in left.items() if name not in names}
        found += [(by_name[name], left[name]) for name in by_name if name in left]
        return sorted(found, key=lambda setting: not setting[0].variable)

    def _price(self, result: WorkloadResult, values: Values) -> Ran | Missing:
        resolved = self.resolved(result, values)
        if resolved.candidate is None:
            return Missing(resolved.missing or "no row of its table fits")
        found = self.measured(result, resolved.candidate, resolved.stand_in or "", values)
        candidate = result.candidate(resolved.candidate) if isinstance(found, Ran) else None
        if candidate is not None and not result.keeps(candidate):
            reason = candidate.broken or f"not shown to be {', '.join(result.required)}"
            return Missing(f"{resolved.candidate} is {reason}")
        return found

    def measured(
        self, result: WorkloadResult, key: str, stand_in: str = "", values: Values | None = None
    ) -> Ran | Missing:
        """A candidate of the result with its time, if it is right; a stand-in for a kernel that was chosen only if the
        user chose it.
        """
        candidate = next((each for each in result.candidates if each.key == key), None)
        if candidate is None:
            return Missing(f"{key} {NOT_MEASURED}")
        time = time_of(result, candidate, self.environment.device_kind)
        if time is None:
            return Missing(f"{candidate.status.replace('_', ' ')}: {candidate.reason or key}")
        chosen = {name for name, value in (values or {}).items() if value} - self.pinned
        backends = {name for name in chosen if self.names_backend(name)}
        if stand_in and backends:
            return Missing(f"{key} is not the engine's own kernel ({stand_in}); pinned it is taken for one")
        return Ran(key, candidate.label, time, stand_in)

    def names_backend(self, name: str) -> bool:
        """Does a knob's value name a backend of the engine?"""
        option = self.server.table.options.get(name)
        return option is not None and option.names_backend

    def _is_variable(self, name: str) -> bool:
        return name in self.server.table.variables


def _meets(rule: Rule, values: Values, defaults: Mapping[str, str]) -> bool:
    for name, allowed in rule.requires.items():
        value = values.get(name, "")
        # A value that is the default's own may be named either way.
        if value not in allowed and (value or defaults.get(name, "")) not in allowed:
            return False
    return True


def _device(environment: Environment) -> Device:
    return Device(
        environment.device_kind,
        environment.device,
        environment.capability,
        environment.multiprocessors,
        environment.memory_bytes,
        environment.l2_bytes,
        environment.cuda or "",
    )
