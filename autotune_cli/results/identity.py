"""What a timing depends on, field by field: equal identities may be reused, and a miss explains itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import Ceilings, Environment, Settings

METHOD = 2
"""Bump when the way of measuring changes, so that older results are measured again. 2: rounds at changing places."""

CANDIDATES = "candidates"
REQUIRED = "required"
FILE = "file "
"""Begins the fields of users' files that were loaded while a workload was measured: known only afterwards."""
UNSETTLED = "files"
"""A field of results whose users' files changed, or are not known: such a result is never reused."""
VARIABLE = "variable "
"""Begins the fields of environment variables."""
_SEPARATOR = "; "
# More names than this on each side of a difference say nothing more to a reader.
_NAMED = 4
# What is shown of a field on the side that lacks it, by the field's first word.
_ABSENT = {
    "baseline": "not measured",
    "variable": "not set",
    "library": "not recorded",
    "source": "absent",
    "file": "absent",
    UNSETTLED: "as they are now",
}


def identity(
    workload: AnyWorkload,
    environment: Environment,
    settings: Settings,
    sources: Mapping[str, str],
    candidate_keys: Iterable[str],
    baselines: Mapping[str, str | None] | None = None,
    required: Iterable[str] = (),
) -> dict[str, str]:
    """Every field that the outcome of a workload depends on, one readable text each.

    Not in it: what is measured anew in each run (the ceilings), Python's version (it launches kernels but
    doesn't change them) and the budget (a workload that ran out of it is never reused).

    Args:
        sources: source hash of each backend with a candidate for this workload, by name.
        candidate_keys: keys of the planned candidates, unsupported and unavailable ones too.
        baselines: candidate of each baseline by its name: a baseline is measured to the end, so its times need it.
        required: properties without which a candidate can't win.
    """
    fields = {
        "method": str(METHOD),
        "workload": workload.key,
        # Not in the key's text, yet it decides every request's length.
        "lengths rule": str(workload.lengths_rule),
        **workload.beside_key,
        REQUIRED: _SEPARATOR.join(required),
        **environment_fields(environment),
        **settings_fields(settings),
        **{f"source {name}": digest for name, digest in sorted(sources.items())},
        **dict(baseline_field(name, candidate) for name, candidate in sorted((baselines or {}).items())),
        CANDIDATES: _SEPARATOR.join(sorted(set(candidate_keys))),
    }
    return known_fields(fields)


def environment_fields(environment: Environment) -> dict[str, str]:
    """The fields of an identity that an environment says; those that are not known are empty."""
    return {
        "device": environment.device,
        "capability": _dotted(environment.capability),
        "multiprocessors": str(environment.multiprocessors or ""),
        "L2 bytes": str(environment.l2_bytes or ""),
        "power limit": _number(environment.power_limit_w, "W"),
        "max SM clock": _number(environment.max_sm_clock_mhz, "MHz"),
        "threads": str(environment.threads or ""),
        "driver": environment.driver or "",
        "cuda": environment.cuda or "",
        **{f"library {name}": version for name, version in sorted(environment.libraries.items())},
        **{f"{VARIABLE}{name}": value for name, value in sorted(environment.variables.items())},
    }


def settings_fields(settings: Settings) -> dict[str, str]:
    """The fields of an identity that the settings of a run say."""
    return {
        "timer": settings.timer,
        "l2": settings.l2,
        "rounds": str(settings.rounds),
        "iterations": str(settings.iterations),
        "places": str(settings.places),
        "exhaustive": "yes" if settings.exhaustive else "no",
        "seed": str(settings.seed),
        # A longer limit can turn a timeout into the winner.
        "timeout": _number(settings.timeout_s, "s"),
    }


def baseline_field(name: str, candidate: str | None) -> tuple[str, str]:
    """Name and text of the field of a baseline; ``candidate`` is None where the baseline is missing."""
    return f"baseline {name}", candidate or "missing"


def known_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields without empty ones. A variable that is set to nothing has a value and stays."""
    return {name: text for name, text in fields.items() if text or name.startswith(VARIABLE)}


def planned_part(fields: Mapping[str, str]) -> dict[str, str]:
    """An identity without what was learnt while it was measured."""
    return {name: text for name, text in fields.items() if not name.startswith(FILE) and name != UNSETTLED}


def loaded_part(fields: Mapping[str, str]) -> dict[str, str]:
    """Hashes of the users' files that were loaded, by name."""
    return {name.removeprefix(FILE): text for name, text in fields.items() if name.startswith(FILE)}


def explain(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The fields that differ, as ``driver 580.1 -> 580.2`` and ``candidates: +x, -y``; empty if none does."""
    names = [*new, *(name for name in old if name not in new)]
    return [_difference(name, old, new) for name in names if old.get(name) != new.get(name)]


def environment_key(environment: Environment) -> str:
    """12 hex digits that name an environment in a file.

    The ceilings are left out: they differ a little each time, and one machine would get a new key each run.
    """
    return _key(environment, only_set=False)


def fits_key(key: str, environment: Environment) -> bool:
    """Is this the environment that a file names so? One that was written before a field was added fits too."""
    return key in (_key(environment, only_set=False), _key(environment, only_set=True))


def _key(environment: Environment, only_set: bool) -> str:
    fields = environment.model_dump(mode="python", exclude=set(Ceilings.model_fields), exclude_unset=only_set)
    # ASCII escapes keep this possible for text that isn't valid UTF-8.
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("ascii")).hexdigest()[:12]


def _difference(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if name == CANDIDATES:
        before, after = (_split(side.get(name, "")) for side in (old, new))
        return f"{name}: " + ", ".join([*_signed("+", after - before), *_signed("-", before - after)])
    return f"{name} {shown_value(name, old.get(name), 'none')} -> {shown_value(name, new.get(name), 'none')}"


def shown_value(name: str, text: str | None, absent: str) -> str:
    """What is shown of a field's value.

    Args:
        text: None: that side doesn't have the field.
        absent: the word for that, where the field has none of its own.
    """
    return legible(_ABSENT.get(name.split(" ", 1)[0], absent) if text is None else text)


def _signed(sign: str, keys: set[str]) -> list[str]:
    listed = [f"{sign}{key}" for key in sorted(keys)[:_NAMED]]
    return [*listed, f"{sign}{len(keys) - _NAMED} more"] if len(keys) > _NAMED else listed


def _split(text: str) -> set[str]:
    return set(text.split(_SEPARATOR)) - {""}


def legible(text: str) -> str:
    """Foreign text on one line, never invisible, and without escape sequences."""
    return text if text and text.isprintable() else repr(text)


def _dotted(capability: tuple[int, int] | None) -> str:
    return "" if capability is None else f"{capability[0]}.{capability[1]}"


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.10g} {unit}"
