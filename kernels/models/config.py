"""Reading a Hugging Face config.json as a model description. Looks at the file only, never at the network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from autotune_cli.errors import BadConfig
from autotune_cli.fields import Message
from autotune_cli.kernels.base import DType
from autotune_cli.kernels.models.cache_dtype import read_cache_dtype
from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.heads import commonest, read_heads
from autotune_cli.kernels.models.known import defaults_of
from autotune_cli.kernels.models.latent import latent_notes, read_latent
from autotune_cli.kernels.models.layers import count_layers, read_layers
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.models.nested import text_fields
from autotune_cli.kernels.models.options import DTYPES, SHORT_DTYPES
from autotune_cli.kernels.models.refuse import not_a_model, refuse_others
from autotune_cli.kernels.models.sparse import sparse_notes
from autotune_cli.reading import Unreadable, read_bytes, shallow

# The largest config.json seen has a few hundred kB (quantisation tables); a weights file given by mistake has GB.
_MOST_BYTES = 16 << 20
# Of the values that a class gives for absent fields, those that a note tells.
_TOLD_DEFAULTS = (
    "num_attention_heads", "num_key_value_heads", "head_dim", "global_head_dim", "hidden_size", "num_hidden_layers",
    "sliding_window", "attn_logit_softcapping",
)  # fmt: skip


def read_config(path: str | Path) -> Model:
    """The model described by a config.json on disk, named after its folder (or the file, if called otherwise).

    Raises:
        BadConfig: with a line that names the path and the field.
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
    beside = _beside(file)
    return model_from_config(values, name=suite_name(file), where=where, source=where, quantization=beside)


def _beside(file: Path) -> object:
    """What ModelOpt wrote beside a config.json; None: no such file, or none that can be read."""
    path = file.with_name("hf_quant_config.json")
    try:
        if file.name != "config.json" or not path.exists():
            return None
        return json.loads(read_bytes(path, _MOST_BYTES, path.name).decode("utf-8-sig"))
    except (Unreadable, OSError, ValueError, RecursionError):
        return None


def model_from_config(
    config: Mapping[str, Any], *, name: str, where: str, source: str, quantization: object = None
) -> Model:
    """The model that the fields of a config.json describe; ``where`` leads error messages. Raises BadConfig.

    ``quantization``: what a file beside it says of the checkpoint's quantisation; its own ``quantization_config``
    counts first.
    """
    outer, fields = Fields.of(where, config), text_fields(config, where)
    refuse_others(outer, fields)
    if fields.num_attention_heads is None:
        raise not_a_model(outer) or fields.missing("num_attention_heads")
    dtype, notes = _dtype(outer, fields)
    topk = fields.index_topk
    latent = read_latent(fields, _most_heads(fields))
    model = Model(
        name=name,
        source=source,
        dtype=dtype,
        model_type=fields.model_type,
        num_attention_heads=_most_heads(fields),
        topk=topk,
        index_heads=fields.index_n_heads,
        index_dim=fields.index_head_dim,
        latent=latent,
        max_context=fields.max_position_embeddings,
    )
    kv_dtype, of_cache = read_cache_dtype(_quantization(outer, fields) or quantization)
    if latent is not None:
        notes += latent_notes(fields) + of_cache + _default_notes(fields)
        return model.model_copy(update={"kv_dtype": kv_dtype, "notes": tuple(notes)})
    if topk is not None:
        notes.append("only the sparse indexer's top-k is tuned; the attention is sparse, which isn't tuned yet")
        return model.model_copy(update={"notes": tuple(notes)})
    heads = read_heads(fields)
    layers, left_out = read_layers(fields, heads)
    notes += left_out
    scalar = fields.query_pre_attn_scalar
    if scalar is not None and any(scalar != layer.head_dim for layer in layers):
        dims = " and ".join(dict.fromkeys(f"1/sqrt({layer.head_dim})" for layer in layers))
        notes.append(f"softmax scale {dims} instead of the model's 1/sqrt({scalar:g}): no effect on time")
    notes += sparse_notes(fields, count_layers(fields))
    notes += of_cache + _default_notes(fields)
    return model.model_copy(update={"layers": layers, "kv_dtype": kv_dtype, "notes": tuple(notes)})


def _most_heads(fields: Fields) -> int:
    """Query heads; of a list by layer the commonest number."""
    heads = commonest(fields.num_attention_heads)
    assert heads is not None
    return heads


def _quantization(outer: Fields, fields: Fields) -> object:
    """SGLang looks for either name at the top (model_config.py, 0.5.23); some publishers nest it in the text model."""
    for part in (outer, fields):
        for name in ("quantization_config", "compression_config"):
            if part.has(name):
                return part.values[name]
    return None


def _default_notes(fields: Fields) -> list[str]:
    """One line on the values that aren't the file's but its class's."""
    sizes = {name: value for name, value in fields.defaulted.items() if name in _TOLD_DEFAULTS}
    if not sizes:
        return []
    values = ", ".join(f"{name} {value:g}" for name, value in sizes.items())
    return [f"not in the file, so by default of {defaults_of(fields.model_type).source}: {values}"]


def _dtype(outer: Fields, fields: Fields) -> tuple[DType, list[str]]:
    """The outer dtype counts: nested ones of multimodal files are often left-overs of training."""
    for part, name in ((outer, "dtype"), (outer, "torch_dtype"), (fields, "dtype"), (fields, "torch_dtype")):
        value = part.values.get(name)
        if value is None or value == "auto":
            continue
        dtype = value.removeprefix("torch.") if isinstance(value, str) else value
        dtype = SHORT_DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
        if dtype not in DTYPES:
            raise part.bad(name, f"is {str(value)[:40]!r}, not one of {', '.join(DTYPES)}")
        if dtype in ("float32", "float8_e4m3fn"):
            said = "{name} is {dtype}; tuned as bfloat16, as it would be served ({fields.dtype} changes that)"
            return "bfloat16", [Message(said, name=name, dtype=dtype)]
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
