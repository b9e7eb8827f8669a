"""Finding the language model's part of a config.json: multimodal files nest it, under names that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.known import text_type

# text_config: transformers; llm_config: InternVL, Ovis; language_config: DeepSeek-VL2, Janus; thinker_config:
# Qwen-Omni, whose talker speaks what the thinker wrote; llm_cfg: VILA; the others: remote code. The first one counts.
_STRICT = ("text_config", "llm_config", "language_config", "thinker_config")
_LOOSE = ("language_model_config", "text_model_config", "lm_config", "llm_cfg", "language_model", "text_model")
_DEEPEST = 4


def text_fields(config: Mapping[str, Any], where: str) -> Fields:
    """The language model's fields; those of ``config`` itself where it nests none.

    Raises:
        BadConfig: what is nested is no object, or has fields of wrong types.
    """
    values, prefix, model_type = config, "", _type(config)
    for _ in range(_DEEPEST):
        name = _nested_name(values, where, prefix)
        if name is None:
            break
        values = values[name]
        prefix += f"{name}."
        # A part without a type is what the enclosing type says, or one of its parents.
        model_type = _type(values) or text_type(model_type) or model_type
    return Fields.of(where, values, prefix, model_type)


def _nested_name(values: Mapping[str, Any], where: str, prefix: str) -> str | None:
    for name in (*_STRICT, *_LOOSE):
        nested = values.get(name)
        if nested is None:
            continue
        if not isinstance(nested, dict):
            if name in _LOOSE:  # a path to the language model, say
                continue
            raise BadConfig(path=where, detail=f"{prefix}{name} must be an object")
        # Some files nest only what differs and keep the heads outside.
        if _has_heads(nested) or not _has_heads(values) or any(key in nested for key in _STRICT):
            return name
    return None


def _has_heads(values: Mapping[str, Any]) -> bool:
    return any(values.get(name) is not None for name in Fields.names_of("num_attention_heads"))


def _type(values: Mapping[str, Any]) -> str:
    value = values.get("model_type")
    return value if isinstance(value, str) else ""
