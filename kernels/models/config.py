"""Reading a Hugging Face config.json as a model description. Looks at the file only, never at the network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.layers import read_layers
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.models.options import DTYPES
from autotune_cli.kernels.workload import DType
from autotune_cli.reading import Unreadable, read_bytes, shallow

# The largest config.json seen has a few hundred kB (quantisation tables); a weights file given by mistake has GB.
_MOST_BYTES = 16 << 20
_NESTED = ("text_config", "llm_config", "language_config")
_ENCODERS = {
    "albert", "bert", "camembert", "clip", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet",
    "nomic_bert", "roberta", "siglip", "vit", "xlm-roberta",
}  # fmt: skip


def read_config(path: str | Path) -> Model:
    """The model described by a config.json on disk, named after its folder (or the file, if called otherwise).

    Raises :class:`BadConfig` with a line that names the path and the field.
    """
    where = str(path)
    file = Path(path)
    try:
        if file.is_dir():
            raise BadConfig(path=where, detail="is a folder; give the config.json inside it")
        if not file.exists():
            raise BadConfig(path=where, detail="no such file")
        values = shallow(json.loads(read_bytes(file, _MOST_BYTES, "config.json").decode("utf-8-sig")))
    except Unreadable as error:
        raise BadConfig(path=where, detail=f"is no config.json: {error}") from error
    except OSError as error:
        raise BadConfig(path=where, detail=f"can't be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise BadConfig(path=where, detail=f"isn't JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a NUL in the path, a number or nesting without end
        raise BadConfig(path=where, detail=f"isn't JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadConfig(path=where, detail="isn't a config.json: the top level must be an object")
    return model_from_config(values, name=suite_name(file), where=where, source=where)


def model_from_config(config: Mapping[str, Any], *, name: str, where: str, source: str) -> Model:
    """The model that the fields of a config.json describe; ``where`` leads error messages. Raises BadConfig."""
    fields = _text_fields(config, where)
    _refuse_others(fields)
    heads = fields.needed("num_attention_heads", "n_head")
    dtype, notes = _dtype(config, fields)
    topk = fields.count("index_topk")
    model = Model(
        name=name,
        source=source,
        dtype=dtype,
        model_type=fields.text("model_type"),
        num_attention_heads=heads,
        topk=topk,
        max_context=fields.count("max_position_embeddings", "n_positions"),
    )
    if topk is not None:
        kind = "MLA" if fields.has("kv_lora_rank") else "sparse"
        notes.append(f"only the sparse indexer's top-k is tuned; the attention is {kind}, which isn't tuned yet")
        return model.model_copy(update={"notes": tuple(notes)})
    kv_heads = _kv_heads(fields, heads)
    if heads % kv_heads:
        raise fields.bad("num_key_value_heads", f"is {kv_heads}, which doesn't divide {heads} (num_attention_heads)")
    head_dim = _head_dim(fields, heads)
    layers, left_out = read_layers(fields, heads, kv_heads, head_dim)
    notes += left_out
    scalar = fields.number("query_pre_attn_scalar")
    if scalar is not None and scalar != head_dim:
        notes.append(f"softmax scale 1/sqrt({head_dim}) instead of the model's 1/sqrt({scalar:g}): no effect on time")
    if fields.has("attention_chunk_size"):
        notes.append("chunked attention (attention_chunk_size) is tuned as full attention")
    return model.model_copy(update={"layers": layers, "notes": tuple(notes)})


def _text_fields(config: Mapping[str, Any], where: str) -> Fields:
    """The language model's part: multimodal files nest it."""
    for key in _NESTED:
        nested = config.get(key)
        if nested is None:
            continue
        if not isinstance(nested, dict):
            raise BadConfig(path=where, detail=f"{key} must be an object")
        # Some files nest only what differs and keep the heads outside.
        if "num_attention_heads" in nested or "num_attention_heads" not in config:
            return Fields(where, nested, f"{key}.")
    return Fields(where, config)


def _refuse_others(fields: Fields) -> None:
    """Raise for models that aren't decoders with plain attention."""
    kind = fields.text("model_type")
    if fields.flag("is_encoder_decoder"):
        raise fields.bad("is_encoder_decoder", "is true: only decoder-only models are tuned")
    architectures = fields.names("architectures") or []
    masked = any(name.endswith("ForMaskedLM") for name in architectures)
    if (kind in _ENCODERS or masked) and not fields.flag("is_decoder"):
        raise fields.bad("model_type", f"is {kind!r}: an encoder has no KV cache; only decoder-only models are tuned")
    if fields.has("kv_lora_rank") and not fields.has("index_topk"):
        raise fields.bad("kv_lora_rank", "is set: multi-head latent attention (MLA) isn't tuned yet")
    if fields.has("global_head_dim"):
        raise fields.bad("global_head_dim", "is set: full layers with another head dim aren't read yet")


def _kv_heads(fields: Fields, heads: int) -> int:
    kv_heads = fields.count("num_key_value_heads")
    if kv_heads is not None:
        return kv_heads
    # Falcon and GPT-BigCode: multi_query is one KV head, except in Falcon's newer architecture.
    if fields.flag("multi_query") and not fields.flag("new_decoder_architecture"):
        return 1
    return fields.count("num_kv_heads") or heads


def _head_dim(fields: Fields, heads: int) -> int:
    head_dim = fields.count("head_dim")
    if head_dim is None:
        hidden = fields.needed("hidden_size", "n_embd")
        if hidden % heads:
            raise fields.bad("hidden_size", f"is {hidden}, not a multiple of {heads} heads, and head_dim is missing")
        head_dim = hidden // heads
    value_dim = fields.count("v_head_dim")
    if value_dim not in (None, head_dim):
        raise fields.bad("v_head_dim", f"is {value_dim}, unlike head_dim ({head_dim}): that isn't tuned yet")
    return head_dim


def _dtype(config: Mapping[str, Any], fields: Fields) -> tuple[DType, list[str]]:
    """The outer dtype counts: nested ones of multimodal files are often left-overs of training."""
    outer = Fields(fields.where, config)
    for place, name in ((outer, "dtype"), (outer, "torch_dtype"), (fields, "dtype"), (fields, "torch_dtype")):
        value = place.values.get(name)
        if value is None or value == "auto":
            continue
        dtype = value.removeprefix("torch.") if isinstance(value, str) else value
        if dtype not in DTYPES:
            raise place.bad(name, f"is {str(value)[:40]!r}, not one of {', '.join(DTYPES)}")
        if dtype == "float32":
            return "bfloat16", [f"{name} is float32; tuned as bfloat16, as it would be served (--dtype changes that)"]
        return cast("DType", dtype), []
    return "bfloat16", []


def suite_name(path: Path) -> str:
    """A name for results: lower case, safe in a file name. A Hugging Face cache path gives the repository's name."""
    file = path.absolute()
    text = file.parent.name if file.name == "config.json" else file.stem
    if file.name == "config.json" and file.parent.parent.name == "snapshots":
        text = file.parent.parent.parent.name.split("--")[-1]
    safe = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:80]
    return safe or "model"
