"""What the two sides were measured on and how: every field that differs, and whether that forbids comparing times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.errors import UnknownName
from autotune_cli.fields import Message
from autotune_cli.results.schema import Environment, RunFile, Settings, WorkloadResult


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
_ALIASES = {"cache": "l2", "device": "gpu"}
# Not the ground: what is measured (compared elsewhere), or said by another field.
_LEFT_OUT = frozenset({"workload", "candidates"})
_IMPORTANT = (
    "device", "card", "capability", "multiprocessors", "threads", "mode", "l2", "timer", "method", "lengths rule",
    "suite", "driver", "cuda",
)  # fmt: skip


@dataclass(frozen=True)
class GroundDifference:
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
            raise UnknownName(Message("ground for {fields.allow_different}"), name, known)
    return frozenset(_ALIASES.get(name, name) for name in names) & set(BLOCKING)


def fields_of(result: WorkloadResult, of_file: Mapping[str, str]) -> dict[str, str]:
    """Everything a workload's times depend on. What its identity doesn't hold is taken from the file."""
    # Older files name their baseline in the result only.
    held = {f"baseline {each.name}": each.candidate or "missing" for each in result.baselines}
    fields = {**of_file, **held, **result.identity, "mode": result.workload.mode}
    if result.card is not None:
        fields["card"] = result.card
    for name in _LEFT_OUT:
        fields.pop(name, None)
    return fields


def file_fields(run: RunFile, environment: str) -> dict[str, str]:
    """The fields that all workloads of a file share which were measured in that environment."""
    return {**_environment_fields(run.environments[environment]), **_settings_fields(run.settings)}


def differences(
    pairs: Sequence[tuple[Sequence[Mapping[str, str]], Sequence[Mapping[str, str]]]],
    suites: tuple[Sequence[str], Sequence[str]],
    allowed: frozenset[str],
) -> list[GroundDifference]:
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
                side.update(dict.fromkeys(_shown(fields.get(field), field) for fields in sessions))
            counts[field] = counts.get(field, 0) + 1
    if set(suites[0]) != set(suites[1]):
        values["suite"] = (dict.fromkeys(sorted(set(suites[0]))), dict.fromkeys(sorted(set(suites[1]))))
        counts["suite"] = 0
    found = [
        GroundDifference(field, tuple(a), tuple(b), _effect(field, allowed), counts[field])
        for field, (a, b) in values.items()
    ]
    return sorted(_folded(found), key=lambda item: (item.effect != Effect.BLOCKS, _rank(item.field), item.field))


def _folded(found: Sequence[GroundDifference]) -> list[GroundDifference]:
    """Backends that only one side has candidates of as one field: what was asked for differs."""
    sides: tuple[list[str], list[str]] = ([], [])
    workloads = 0
    kept = []
    for item in found:
        family, _, backend = item.field.partition(" ")
        absent = [values == ("not recorded",) for values in (item.a, item.b)]
        if family == "source" and any(absent):
            sides[0 if absent[1] else 1].append(backend)
            workloads = max(workloads, item.workloads)
        else:
            kept.append(item)
    if any(sides):
        kept.append(GroundDifference("backends", tuple(sides[0]), tuple(sides[1]), Effect.SHOWN, workloads))
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


def _shown(text: str | None, field: str) -> str:
    if text is None:
        absent = {"variable": "not set", "baseline": "not measured"}
        return absent.get(field.split(" ", 1)[0], "not recorded")
    # One line, and never invisible.
    return text if text and text.isprintable() else repr(text)


def _environment_fields(environment: Environment) -> dict[str, str]:
    fields = {
        "device": environment.device,
        "capability": ".".join(str(part) for part in environment.capability or ()),
        "multiprocessors": str(environment.multiprocessors or ""),
        "threads": str(environment.threads or ""),
        "L2 bytes": str(environment.l2_bytes or ""),
        "memory bytes": str(environment.memory_bytes or ""),
        "power limit": "" if environment.power_limit_w is None else f"{environment.power_limit_w:.10g} W",
        "max SM clock": "" if environment.max_sm_clock_mhz is None else f"{environment.max_sm_clock_mhz:.10g} MHz",
        "driver": environment.driver or "",
        "cuda": environment.cuda or "",
        "python": environment.python,
        **{f"library {name}": version for name, version in environment.libraries.items()},
    }
    return {name: text for name, text in fields.items() if text} | {
        f"variable {name}": value for name, value in environment.variables.items()
    }


def _settings_fields(settings: Settings) -> dict[str, str]:
    return {
        "timer": settings.timer,
        "l2": settings.l2,
        "rounds": str(settings.rounds),
        "iterations": str(settings.iterations),
        "places": str(settings.places),
        "seed": str(settings.seed),
        "exhaustive": "yes" if settings.exhaustive else "no",
        "timeout": f"{settings.timeout_s:.10g} s",
    }
