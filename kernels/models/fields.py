"""Typed access to the fields of a Hugging Face config.json: a wrong one is a BadConfig line that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models.known import defaults_of

# Larger numbers are a mistake in the file (window, positions).
MOST = 100_000_000
# Nor has any model so many heads, layers or elements in a head: the largest known are 128, 126 and 576.
MOST_SIZE = 10_000

# What publishers and configuration classes call the same thing: attribute_map in transformers' classes (5.24.0), remote
# code of Falcon (n_head_kv), MPT and DBRX (n_heads, d_model), ChatGLM (num_layers, kv_channels), OpenELM
# (num_query_heads, model_dim, num_transformer_layers), Mistral's and Llama's params.json (dim, n_kv_heads),
# DeciLM (.._per_layer), Step3 (num_attention_groups). The first one that is there counts.
ALIASES: dict[str, tuple[str, ...]] = {
    "num_attention_heads": (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads", "attention_heads",
        "num_attention_heads_per_layer",
    ),
    "num_key_value_heads": (
        "num_key_value_heads", "n_head_kv", "num_kv_heads", "n_kv_heads", "n_kv_head", "kv_n_heads",
        "num_attention_groups", "num_query_groups", "n_query_groups", "num_key_value_heads_per_layer",
    ),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels", "attention_head_size", "hidden_size_per_head"),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "n_embed", "embed_dim", "model_dim", "dim"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"),
    "max_position_embeddings": (
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx",
    ),
    "sliding_window": ("sliding_window", "sliding_window_size", "attention_window_size", "window_size"),
    "attn_logit_softcapping": ("attn_logit_softcapping", "max_attn_value"),
    "kv_lora_rank": ("kv_lora_rank",),
    "index_topk": ("index_topk",),
    "attention_chunk_size": ("attention_chunk_size",),
}  # fmt: skip
# A whole file says how large its model is; a nested part that transformers wrote may leave even that to its class.
_NESTED_ONLY = {"num_attention_heads", "hidden_size", "num_hidden_layers", "max_position_embeddings"}


class Fields:
    """The text model's fields of a config.json. ``where`` leads each message: a path or a catalogue file.

    ``prefix`` leads the fields' names in messages (``text_config.``). ``model_type`` is the file's, or what the part
    that encloses it implies; its class's defaults count for absent fields, and ``defaulted`` says which were taken.
    """

    def __init__(self, where: str, values: Mapping[str, Any], prefix: str = "", model_type: str | None = None) -> None:
        self.where = where
        self.values = values
        self.prefix = prefix
        self.model_type = self.text("model_type") if model_type is None else model_type
        self.defaulted: dict[str, Any] = {}

    def bad(self, name: str, detail: str) -> BadConfig:
        return BadConfig(path=self.where, detail=f"{self.prefix}{name} {detail}")

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def name_of(self, canonical: str) -> str:
        """What the file calls a field; its canonical name where it has none."""
        names = ALIASES.get(canonical, (canonical,))
        return next((name for name in names if self.has(name)), names[0])

    def section(self, name: str) -> Fields | None:
        """The fields of a nested object; None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.bad(name, f"must be an object, not {_show(value)}")
        return Fields(self.where, value, f"{self.prefix}{name}.", "")

    def value(self, canonical: str) -> Any:
        """Under any of its names, or its class's default; None: neither. Null is the file's own answer."""
        name = self.name_of(canonical)
        if self.has(name):
            return self.values[name]
        default = defaults_of(self.model_type).values.get(canonical)
        given = any(alias in self.values for alias in ALIASES.get(canonical, (canonical,)))
        if default is None or given or (canonical in _NESTED_ONLY and not self.prefix):
            return None
        self.defaulted[canonical] = default
        return default

    def count(self, canonical: str, most: int = MOST) -> int | None:
        """A positive whole number; None: absent or null."""
        value = self.value(canonical)
        return None if value is None else self.whole(self.name_of(canonical), value, most)

    def switchable(self, canonical: str) -> int | None:
        """As :meth:`count`, but zero and false mean off: None."""
        value = self.value(canonical)
        if value is None or value is False or (isinstance(value, int | float) and value == 0):
            return None
        return self.whole(self.name_of(canonical), value)

    def per_layer(self, canonical: str, most: int = MOST_SIZE) -> int | list[int] | None:
        """One positive number, or one a layer, where zero is a layer without attention; None: absent or null."""
        name = self.name_of(canonical)
        numbers = self.listed(name, most)
        return self.count(canonical, most) if numbers is None else numbers

    def listed(self, name: str, most: int = MOST_SIZE) -> list[int] | None:
        """A list by layer in the field ``name``; None: the field is no list."""
        value = self.values.get(name)
        if not isinstance(value, list):
            return None
        if not value or len(value) > MOST_SIZE:
            raise self.bad(name, f"has {len(value)} entries, which no model has layers")
        numbers = [0 if item in (0, None) else self.whole(name, item, most) for item in value]
        if not any(numbers):
            raise self.bad(name, "has no number above zero")
        return numbers

    def whole(self, name: str, value: object, most: int = MOST) -> int:
        """``value`` of the field ``name`` as a whole number from 1 to ``most``."""
        # json.dumps of a computed size may leave 8.0 or 1e5.
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(name, f"must be a whole number, not {_show(value)}")
        if not 1 <= value <= most:
            raise self.bad(name, f"is {_show(value)}, which no model has")
        return value

    def needed(self, canonical: str, most: int = MOST_SIZE) -> int:
        value = self.count(canonical, most)
        if value is None:
            raise self.missing(canonical)
        return value

    def missing(self, canonical: str) -> BadConfig:
        names = ALIASES[canonical]
        return self.bad(names[0], f"is missing, and so are its other names ({', '.join(names[1:4])} ...)")

    def number(self, canonical: str) -> float | None:
        """A finite positive number; None: absent, null, or zero or false, which mean off."""
        value = self.value(canonical)
        if value is None or value is False:
            return None
        name = self.name_of(canonical)
        # A JSON integer may be larger than any float, which math.isfinite would choke on.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(name, f"must be a number, not {_show(value)}")
        if value == 0:
            return None
        if not 0 < value <= MOST or not math.isfinite(value):
            raise self.bad(name, f"is {_show(value)}, but must be positive")
        return float(value)

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise self.bad(name, f"must be true or false, not {_show(value)}")
        return value

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def names(self, name: str) -> list[str] | None:
        """A list of strings; None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise self.bad(name, "must be a list of names")
        return value

    def numbers(self, name: str) -> list[int] | None:
        """A list of whole numbers from 0 on (layers, flags of layers); None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, int) and 0 <= item <= MOST for item in value):
            raise self.bad(name, "must be a list of whole numbers")
        return [int(item) for item in value]


def _show(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
