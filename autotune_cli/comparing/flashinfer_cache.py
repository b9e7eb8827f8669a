"""FlashInfer's own autotuner cache: a flat JSON object of choices, without times.

``{"_metadata": {...}, "<printed tuple>": ["RunnerClass", tactic], ..., "_generation": ...}`` as FlashInfer 0.6.18 and
0.7 write it (``flashinfer/autotuner.py``). Keys hold reprs such as ``torch.bfloat16``, so they are compared as texts;
names with a leading underscore are not choices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.errors import BadFile

METADATA = "_metadata"
_ANY = "*"


@dataclass(frozen=True)
class FlashinferCache:
    """The choices of one file. Both maps hold readable texts."""

    path: Path
    metadata: dict[str, str]
    choices: dict[str, str]
    """``Runner tactic`` by key."""


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
    assert isinstance(metadata, dict)
    choices = {}
    for key, value in document.items():
        if key.startswith("_"):
            continue
        if not _is_choice(value):
            raise BadFile(path=path, detail=f'["{_short(key)}"]: must be [runner, tactic], as FlashInfer writes it')
        assert isinstance(value, list)
        choices[key] = f"{value[0]} {_text(value[1])}"
    return FlashinferCache(path, {str(name): _text(value) for name, value in metadata.items()}, choices)


def metadata_differences(a: FlashinferCache, b: FlashinferCache) -> list[tuple[str, str, str]]:
    """``(field, a, b)`` of the fields that differ; ``*`` agrees with everything, as when FlashInfer loads a file."""
    names = [*a.metadata, *(name for name in b.metadata if name not in a.metadata)]
    rows = [(name, a.metadata.get(name, "not recorded"), b.metadata.get(name, "not recorded")) for name in names]
    return [(name, old, new) for name, old, new in rows if old != new and _ANY not in (old, new)]


def _is_choice(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
