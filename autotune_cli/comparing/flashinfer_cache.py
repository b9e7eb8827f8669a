"""FlashInfer's own autotuner cache: a flat JSON object of choices, without times.

``{"_metadata": {...}, "<printed tuple>": ["RunnerClass", tactic], ..., "_generation": ...}`` as FlashInfer 0.6.18 and
0.7 write it (``flashinfer/autotuner.py``). A choice of 0.7.2 has a third item, how it was measured: names and values in
turn. Keys hold reprs such as ``torch.bfloat16``, so they are compared as texts; names with a leading underscore are not
choices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune_cli.errors import BadFile
from autotune_cli.reading import printable

METADATA = "_metadata"
_ANY = "*"


@dataclass(frozen=True)
class FlashinferCache:
    """The choices of one file, or of one store. All maps hold readable texts."""

    path: Path
    metadata: dict[str, str]
    choices: dict[str, str]
    """``Runner tactic`` by key."""
    policies: dict[str, dict[str, str]] = field(default_factory=dict)
    """How choices were measured, in fields by key, where that was written down."""
    unread: tuple[str, ...] = ()
    """Files of a store that hold no choice, each with the reason. FlashInfer measures those choices anew."""


def is_flashinfer_cache(document: object) -> bool:
    """Does a parsed JSON document look like such a file?"""
    if not isinstance(document, dict) or "schema_version" in document:
        return False
    if isinstance(document.get(METADATA), dict):
        return True
    entries = {key: value for key, value in document.items() if not key.startswith("_")}
    return bool(entries) and all(key.startswith("(") and _is_choice(value) for key, value in entries.items())


def parse_flashinfer_cache(document: dict[str, object], path: Path) -> FlashinferCache:
    """The choices in a document for which :func:`is_flashinfer_cache` holds.

    Raises:
        BadFile: an entry that is no ``[runner, tactic]``; the message names it.
    """
    metadata = document.get(METADATA, {})
    if not isinstance(metadata, dict):
        raise BadFile(path=path, detail=f"{METADATA}: must be an object, as FlashInfer writes it")
    choices, policies = {}, {}
    for key, value in document.items():
        if key.startswith("_"):
            continue
        if not _is_choice(value):
            raise BadFile(path=path, detail=f'["{_short(key)}"]: must be [runner, tactic], as FlashInfer writes it')
        assert isinstance(value, list)
        text = printable(key)
        choices[text] = choice_text(value[0], value[1])
        if len(value) > 2:
            policies[text] = policy_fields(value[2])
    return FlashinferCache(path, fields_of(metadata), choices, policies)


def field_differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """``(field, a, b)`` of the fields that differ; ``*`` agrees with everything, as when FlashInfer loads a file."""
    names = [*a, *(name for name in b if name not in a)]
    rows = [(name, a.get(name, "not recorded"), b.get(name, "not recorded")) for name in names]
    return [(name, old, new) for name, old, new in rows if old != new and _ANY not in (old, new)]


def choice_text(runner: str, tactic: object) -> str:
    """``CutlassRunner 3``."""
    return f"{printable(runner)} {value_text(tactic)}"


def fields_of(values: Mapping[str, object]) -> dict[str, str]:
    """An environment's fields as readable texts."""
    return {printable(name): value_text(value) for name, value in values.items()}


def policy_fields(policy: list[object]) -> dict[str, str]:
    """``{"l2_cache_policy": "hot"}`` of names and values in turn."""
    words = [value_text(value) for value in policy]
    return dict(zip(words[::2], words[1::2], strict=False))


def value_text(value: object) -> str:
    """Any JSON value as one readable text."""
    return printable(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _is_choice(value: object) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 3) or not isinstance(value[0], str):
        return False
    return len(value) == 2 or isinstance(value[2], list)


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 80 else text[:77] + "..."
