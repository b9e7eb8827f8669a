"""FlashInfer's managed store of choices: a folder with a manifest and one small file a choice, without times.

``<root>/v2/<hash of the manifest>/{manifest.json, entries/<hash of the key>.json}`` as ``autotune_v2`` of FlashInfer
0.7 writes it (``flashinfer/autotune_cache.py``). The manifest names the environment; an entry is ``{key, runner,
tactic}``, in 0.7.2 with ``key_fields`` and ``profiling_policy``. Keys are the same texts as in the flat files of
:mod:`autotune_cli.comparing.foreign.flashinfer_cache`. For FlashInfer an entry that is damaged is a miss and no error.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices, fields_of, value_text
from autotune_cli.comparing.foreign.flashinfer_text import PROGRAM, choice_text, policy_fields
from autotune_cli.comparing.foreign.format import StoreFormat
from autotune_cli.errors import BadFile
from autotune_cli.reading import Unreadable, parse_json, printable, read_bytes

MANIFEST = "manifest.json"
ENTRIES = "entries"
# FlashInfer's names of the layout, in the manifest and as a folder. A change of either brings another one.
_SCHEMA, _LAYOUT = "cache_schema", "v2"
# A choice has a few hundred bytes; what is far larger is no choice.
_MOST_BYTES = 2**20
_DIGITS = 24
# Manifest fields that tell the stores of one machine apart for a reader.
_TELLING = ("flashinfer_version", "gpu", "measure_execution_mode", "measure_cold_l2")


class FlashinferStore(StoreFormat):
    """The folders, each of one environment."""

    name = "FlashInfer stores"

    def recognises(self, document: object, path: Path) -> bool:
        return path.name == MANIFEST and _is_manifest(document)

    def read(self, document: object, path: Path) -> ForeignChoices:
        return self.read_store(path.parent)

    def is_store(self, folder: Path) -> bool:
        return os.path.isfile(folder / MANIFEST) and os.path.isdir(folder / ENTRIES)

    def read_store(self, folder: Path) -> ForeignChoices:
        metadata = _manifest(folder / MANIFEST)
        choices, policies, unread = {}, {}, []
        # FlashInfer never looks for a hidden file.
        for path in sorted(path for path in (folder / ENTRIES).glob("*.json") if not path.name.startswith(".")):
            try:
                key, choice, policy = _entry(path)
            except ValueError as error:
                unread.append(f"{path.name} ({error})")
                continue
            choices[key] = choice
            if policy is not None:
                policies[key] = policy
        return ForeignChoices(folder, PROGRAM, metadata, choices, policies, tuple(unread), folder / ENTRIES)

    def stores_below(self, folder: Path) -> list[Path]:
        """Those in a ``v2`` folder or in a cache root."""
        found = [path.parent for inside in (folder, folder / _LAYOUT) for path in inside.glob(f"*/{MANIFEST}")]
        unique = {os.path.realpath(store): store for store in sorted(found, reverse=True) if self.is_store(store)}
        return sorted(unique.values())

    def described(self, store: Path) -> str:
        """``v2/2482773c3e7d4155 (0.7.2.post1, NVIDIA H200)``."""
        try:
            manifest = _manifest(store / MANIFEST)
        except BadFile:
            return f"{store} (its manifest can't be read)"
        return f"{store} ({', '.join(manifest[name] for name in _TELLING if name in manifest)})"


def _is_manifest(document: object) -> bool:
    return isinstance(document, dict) and _SCHEMA in document and "schema_version" not in document


def _manifest(path: Path) -> dict[str, str]:
    """The environment, as readable texts.

    Raises:
        BadFile: it is damaged or of another layout; the environment isn't known without it.
    """
    try:
        document = _json(path)
        if not _is_manifest(document):
            raise ValueError(f"not the manifest of a FlashInfer store: it has no {_SCHEMA}")
        assert isinstance(document, dict)
        layout = document.pop(_SCHEMA)
        if layout != _LAYOUT:
            raise ValueError(f"a FlashInfer store of layout {value_text(layout)}, this version reads {_LAYOUT}")
    except ValueError as error:
        raise BadFile(path=path, detail=error) from error
    return fields_of(document)


def _entry(path: Path) -> tuple[str, str, dict[str, str] | None]:
    """Key, choice and policy of measuring in a file.

    Raises:
        ValueError: FlashInfer would not use it; the message says why.
    """
    entry = _json(path)
    if not isinstance(entry, dict):
        raise ValueError("no JSON object")
    key, runner, policy = entry.get("key"), entry.get("runner"), entry.get("profiling_policy")
    if not isinstance(key, str) or not isinstance(runner, str) or "tactic" not in entry:
        raise ValueError("without key, runner or tactic")
    if hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS] != path.stem:
        raise ValueError("its key belongs in another file")
    return (
        printable(key),
        choice_text(runner, entry["tactic"]),
        policy_fields(policy) if isinstance(policy, list) else None,
    )


def _json(path: Path) -> object:
    """A small JSON file.

    Raises:
        ValueError: there is none; the message says why.
    """
    try:
        return parse_json(read_bytes(path, _MOST_BYTES, "choice", pipes=False).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except Unreadable as error:
        raise ValueError(str(error)) from error
