"""What every file of another program is read into: choices without times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune_cli.reading import printable

# The metadata field that forbids comparing where it differs; a format that knows the GPU gives it under this name.
GPU = "gpu"
# A value that agrees with every other, as when FlashInfer loads a file.
_ANY = "*"


@dataclass(frozen=True)
class ForeignChoices:
    """The choices of one file, or of one store. All maps hold readable texts."""

    path: Path
    program: str
    """What wrote it: ``FlashInfer``."""
    metadata: dict[str, str]
    """What the choices were measured on and with, in fields."""
    choices: dict[str, str]
    """By key: what was chosen, as ``Runner tactic``."""
    policies: dict[str, dict[str, str]] = field(default_factory=dict)
    """How choices were measured, in fields by key, where that was written down."""
    unread: tuple[str, ...] = ()
    """Files of a store that hold no choice, each with the reason. The program measures those choices anew."""
    unread_in: Path | None = None
    """The folder of these files."""


def field_differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """``(field, a, b)`` of the fields that differ; ``*`` agrees with everything."""
    names = [*a, *(name for name in b if name not in a)]
    rows = [(name, a.get(name, "not recorded"), b.get(name, "not recorded")) for name in names]
    return [(name, old, new) for name, old, new in rows if old != new and _ANY not in (old, new)]


def fields_of(values: Mapping[str, object]) -> dict[str, str]:
    """The fields of a JSON object as readable texts."""
    return {printable(name): value_text(value) for name, value in values.items()}


def value_text(value: object) -> str:
    """Any JSON value as one readable text."""
    return printable(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)
