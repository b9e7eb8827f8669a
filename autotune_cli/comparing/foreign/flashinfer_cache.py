"""FlashInfer's own autotuner cache: a flat JSON object of choices, without times.

``{"_metadata": {...}, "<printed tuple>": ["RunnerClass", tactic], ..., "_generation": ...}`` as FlashInfer 0.6.18 and
0.7 write it (``flashinfer/autotuner.py``). A choice of 0.7.2 has a third item, how it was measured: names and values in
turn. Keys hold reprs such as ``torch.bfloat16``, so they are compared as texts; names with a leading underscore are not
choices.
"""

from __future__ import annotations

from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices, fields_of
from autotune_cli.comparing.foreign.flashinfer_text import PROGRAM, choice_text, policy_fields
from autotune_cli.comparing.foreign.format import FileFormat
from autotune_cli.errors import BadFile
from autotune_cli.reading import printable

METADATA = "_metadata"


class FlashinferCache(FileFormat):
    """The flat files."""

    def recognises(self, document: object, path: Path) -> bool:
        if not isinstance(document, dict) or "schema_version" in document:
            return False
        if isinstance(document.get(METADATA), dict):
            return True
        entries = {key: value for key, value in document.items() if not key.startswith("_")}
        return bool(entries) and all(key.startswith("(") and _is_choice(value) for key, value in entries.items())

    def read(self, document: object, path: Path) -> ForeignChoices:
        assert isinstance(document, dict)
        metadata = document.get(METADATA, {})
        if not isinstance(metadata, dict):
            raise BadFile(path=path, detail=f"{METADATA}: must be an object, as FlashInfer writes it")
        choices, policies = {}, {}
        for key, value in document.items():
            if key.startswith("_"):
                continue
            if not _is_choice(value):
                raise BadFile(path=path, detail=f'["{_short(key)}"]: must be [runner, tactic], as FlashInfer writes it')
            text = printable(key)
            choices[text] = choice_text(value[0], value[1])
            if len(value) > 2:
                policies[text] = policy_fields(value[2])
        return ForeignChoices(path, PROGRAM, fields_of(metadata), choices, policies)


def _is_choice(value: object) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 3) or not isinstance(value[0], str):
        return False
    return len(value) == 2 or isinstance(value[2], list)


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 80 else text[:77] + "..."
