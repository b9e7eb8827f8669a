"""What the two sides were measured on and how: every field that differs, and whether that forbids comparing times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.errors import UnknownName
from autotune_cli.fields import Message
from autotune_cli.results.identity import baseline_field, environment_fields, known_fields, settings_fields, shown_value
from autotune_cli.results.schema import RunFile, WorkloadResult


class Effect(StrEnum):
    """What a difference does."""

    SHOWN = "shown"
    ALLOWED = "allowed"
    """Would forbid comparing, and was allowed by name."""
    BLOCKS = "blocks"


# Fields whose difference makes times of two runs two different things, by the name that allows it.
BLOCKING: dict[str, tuple[str, ...]] = {
    "gpu": ("device", "capability", "multiprocessors", "threads"),
    "mode": ("mode",),
    "l2": ("l2",),
    "timer": ("timer",),
    "method": ("method", "lengths rule"),
}
# These may be named too; they never forbid.
HARMLESS = ("driver", "cuda", "library", "libraries", "suite", "source", "variable", "power", "clock", "settings")
NOT_RECORDED = "not recorded"
_ALIASES = {"cache": "l2", "device": "gpu"}
# Not the environment: what is measured (compared elsewhere), or said by another field.
_LEFT_OUT = frozenset({"workload", "candidates"})
_IMPORTANT = (
    "device", "card", "capability", "multiprocessors", "threads", "mode", "l2", "timer", "method", "lengths rule",
    "suite", "driver", "cuda",
)  # fmt: skip


@dataclass(frozen=True)
class EnvironmentDifference:
    """A field that differs."""

    field: str
    a: tuple[str, ...]
    """Every value on that side; more than one where a side's files or workloads differ among themselves."""
    b: tuple[str, ...]
    effect: Effect
    workloads: int
    """Workloads in both for which it differs; 0: a field of the whole run."""


def allowed_fields(texts: Iterable[str]) -> frozenset[str]:
    """The names of ``BLOCKING`` in ``gpu,driver`` and the like.

    Raises:
        UnknownName: any other name.
    """
    names = [part.strip().lower() for text in texts for part in text.split(",")]
    known = [*BLOCKING, *_ALIASES, *HARMLESS]
    for name in names:
        if name not in known:
            raise UnknownName(Message("field for {fields.allow_different}"), name, known)
    return frozenset(_ALIASES.get(name, name) for name in names) & set(BLOCKING)


def fields_of(result: WorkloadResult, of_file: Mapping[str, str]) -> dict[str, str]:
    """Everything a workload's times depend on. What its identity doesn't hold is taken from the file."""
    # Older files name their baseline in the result only.
    held = dict(baseline_field(each.name, each.candidate) for each in result.baselines)
    fields = {**of_file, **held, **result.identity, "mode": result.workload.mode}
    if result.card is not None:
        fields["card"] = result.card
    for name in _LEFT_OUT:
        fields.pop(name, None)
    return fields


def file_fields(run: RunFile, environment: str) -> dict[str, str]:
    """The fields that all workloads of a file share which were measured in that environment."""
    measured_in = run.environments[environment]
    # No part of an identity: none changes the time of a kernel by itself.
    beside = {"memory bytes": str(measured_in.memory_bytes or ""), "python": measured_in.python}
    # What the workloads' weights are of. Without weights on both sides nothing differs.
    beside["traffic"] = "none" if run.traffic is None else run.traffic.label
    return {**known_fields({**environment_fields(measured_in), **beside}), **settings_fields(run.settings)}


def differences(
    pairs: Sequence[tuple[Sequence[Mapping[str, str]], Sequence[Mapping[str, str]]]],
    suites: tuple[Sequence[str], Sequence[str]],
    allowed: frozenset[str],
) -> list[EnvironmentDifference]:
    """The fields in which the sides differ, the important ones first.

    Args:
        pairs: for each workload in both, the fields of its sessions in A and in B.
        suites: names of the runs of each side.
        allowed: see :func:`allowed_fields`.
    """
    values: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    counts: dict[str, int] = {}
    for before, after in pairs:
        for field in _differing(before, after):
            sides = values.setdefault(field, ({}, {}))
            for side, sessions in zip(sides, (before, after), strict=True):
                side.update(dict.fromkeys(shown_value(field, fields.get(field), NOT_RECORDED) for fields in sessions))
            counts[field] = counts.get(field, 0) + 1
    if set(suites[0]) != set(suites[1]):
        values["suite"] = (dict.fromkeys(sorted(set(suites[0]))), dict.fromkeys(sorted(set(suites[1]))))
        counts["suite"] = 0
    found = [
        EnvironmentDifference(field, tuple(a), tuple(b), _effect(field, allowed), counts[field])
        for field, (a, b) in values.items()
    ]
    return sorted(_folded(found), key=lambda item: (item.effect != Effect.BLOCKS, _rank(item.field), item.field))


def _folded(found: Sequence[EnvironmentDifference]) -> list[EnvironmentDifference]:
    """Backends that only one side has candidates of as one field: what was asked for differs."""
    sides: tuple[list[str], list[str]] = ([], [])
    workloads = 0
    kept = []
    for item in found:
        family, _, backend = item.field.partition(" ")
        missing = shown_value(item.field, None, NOT_RECORDED)
        absent = [values == (missing,) for values in (item.a, item.b)]
        if family == "source" and any(absent):
            sides[0 if absent[1] else 1].append(backend)
            workloads = max(workloads, item.workloads)
        else:
            kept.append(item)
    if any(sides):
        kept.append(EnvironmentDifference("backends", tuple(sides[0]), tuple(sides[1]), Effect.SHOWN, workloads))
    return kept


def blocking_name(field: str) -> str | None:
    """The name that allows a difference of a field which forbids comparing; None for one that doesn't."""
    return next((name for name, fields in BLOCKING.items() if field in fields), None)


def _differing(before: Sequence[Mapping[str, str]], after: Sequence[Mapping[str, str]]) -> list[str]:
    if len(before) == len(after) == 1 and before[0] == after[0]:
        return []
    names: dict[str, None] = {}
    for fields in (*before, *after):
        names.update(dict.fromkeys(fields))
    return [name for name in names if {fields.get(name) for fields in before} != {fields.get(name) for fields in after}]


def _effect(field: str, allowed: frozenset[str]) -> Effect:
    name = blocking_name(field)
    if name is None:
        return Effect.SHOWN
    return Effect.ALLOWED if name in allowed else Effect.BLOCKS


def _rank(field: str) -> int:
    if field in _IMPORTANT:
        return _IMPORTANT.index(field)
    order = ("library", "power", "max", "source", "backends", "variable")
    word = field.split(" ", 1)[0]
    return len(_IMPORTANT) + (order.index(word) if word in order else len(order))
