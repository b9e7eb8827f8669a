"""What is known of model types beside their files: class defaults, what is no decoder, what SGLang serves otherwise.

Data only, a TOML file each that says in which version it was read.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Defaults:
    """What a configuration class takes for absent fields; ``values`` are under canonical names (fields.Fields)."""

    source: str
    """For people: the class, and the version of transformers."""
    values: dict[str, Any]


@dataclass(frozen=True)
class Others:
    """Model types that aren't decoder-only language models with a KV cache."""

    encoders: frozenset[str]
    encoder_decoders: frozenset[str]
    recurrent: frozenset[str]


_NONE = Defaults("", {})


def defaults_of(model_type: str) -> Defaults:
    """The defaults of a model type; without values for one that isn't in the table."""
    return _defaults().get(model_type, _NONE)


def text_type(model_type: str) -> str:
    """The type of the language model nested in a file of ``model_type`` whose nested part doesn't say it; or empty."""
    found: str = _table("defaults")["text"].get(model_type, "")
    return found


@cache
def others() -> Others:
    """Encoders, encoder-decoders and models without attention."""
    table = _table("others")
    encoders = frozenset(table["encoders"]) | frozenset(table["remote_encoders"])
    return Others(encoders, frozenset(table["encoder_decoders"]), frozenset(table["recurrent"]))


def served_without_window(model_type: str) -> str:
    """The SGLang versions in which this family's layers get no window, whatever its file says; or empty."""
    table = _table("sglang")
    return table["read_in"] if model_type in table["without_window"] else ""


@cache
def _defaults() -> dict[str, Defaults]:
    table = _table("defaults")
    read_in, rows = table["read_in"], table["defaults"]
    return {
        name: Defaults(f"{row['class']} ({read_in})", {key: value for key, value in row.items() if key != "class"})
        for name, row in rows.items()
    }


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
