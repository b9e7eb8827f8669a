"""Query heads, KV heads and head dim of a model's layers, from the fields in which its family tells them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from autotune_cli.kernels.models.fields import MOST_SIZE, Fields, Part


@dataclass(frozen=True)
class Heads:
    """The shape of one layer's attention."""

    query: int
    kv: int
    dim: int


def read_heads(fields: Fields) -> Heads:
    """The heads that most layers have.

    Raises:
        BadConfig: they are missing, or don't fit each other.
    """
    query = commonest(fields.num_attention_heads)
    if query is None:
        raise fields.missing("num_attention_heads")
    name, kv = _kv_heads(fields, query)
    if query % kv:
        raise fields.bad(name, f"is {kv}, which doesn't divide {query} ({fields.name_of('num_attention_heads')})")
    return Heads(query, kv, _head_dim(fields, query))


def windowed_heads(fields: Fields, heads: Heads) -> Heads:
    """Those of windowed layers, where they differ: MiMo-V2's swa_ fields, Baichuan-M1's, Step-3.5's nested ones."""
    own = fields.section("attention_other_setting") or Part.of(fields.where, {}, fields.prefix, "")
    return checked(
        fields,
        "swa_num_key_value_heads",
        Heads(
            fields.swa_num_attention_heads or own.num_attention_heads or heads.query,
            fields.swa_num_key_value_heads or own.num_key_value_heads or heads.kv,
            fields.swa_head_dim or own.head_dim or heads.dim,
        ),
    )


def full_heads(fields: Fields, heads: Heads) -> Heads:
    """Those of full layers beside windowed ones, where they differ: Gemma 4's global_ fields."""
    dim = fields.global_head_dim
    kv = fields.num_global_key_value_heads
    # transformers' Gemma4TextConfig (5.24.0) takes the KV heads only of layers whose keys are their values.
    if fields.attention_k_eq_v is False:
        kv = None
    return checked(fields, "num_global_key_value_heads", replace(heads, kv=kv or heads.kv, dim=dim or heads.dim))


def checked(fields: Fields, name: str, heads: Heads) -> Heads:
    """``heads``, if they divide.

    Raises:
        BadConfig: they don't; the message names ``name``.
    """
    if heads.query % heads.kv:
        raise fields.bad(name, f"gives {heads.kv} KV heads, which doesn't divide {heads.query} query heads")
    return heads


def commonest(value: int | list[int] | None) -> int | None:
    """The commonest number of a list by layer, zeros (no attention) left out."""
    if not isinstance(value, list):
        return value
    return Counter(number for number in value if number).most_common(1)[0][0]


def _kv_heads(fields: Fields, query: int) -> tuple[str, int]:
    """The number of KV heads, and the field that told it."""
    if fields.has("num_key_value_heads"):
        return "num_key_value_heads", commonest(fields.num_key_value_heads) or query
    # Falcon and GPT-BigCode: one KV head, except in Falcon's newer architecture (SGLang, model_config.py).
    if _multi_query(fields) and not fields.new_decoder_architecture:
        return "multi_query", 1
    # ChatGLM: the group number counts if the flag isn't off.
    groups = fields.multi_query_group_num
    if groups and fields.multi_query_attention is not False:
        return "multi_query_group_num", groups
    # DBRX and MPT nest it; MPT names one KV head by the kind of attention.
    nested = fields.section("attn_config")
    if nested is not None:
        kv = nested.num_key_value_heads
        if kv:
            return "attn_config.kv_n_heads", kv
        if nested.text("attn_type") == "multiquery_attention":
            return "attn_config.attn_type", 1
    found = commonest(fields.num_key_value_heads)
    return fields.name_of("num_key_value_heads"), found or query


def _multi_query(fields: Fields) -> bool:
    """The older RefinedWeb files name Falcon's KV heads and no flag."""
    if not fields.has("multi_query") and any(fields.has(name) for name in ("n_head_kv", "n_kv_heads", "num_kv_heads")):
        return False
    return bool(fields.multi_query)


def _head_dim(fields: Fields, query: int) -> int:
    dim = commonest(fields.head_dim)
    if dim is None:
        nested = fields.section("attn_config")
        dim = nested.head_dim if nested is not None else None
    if dim is None:
        name = fields.name_of("hidden_size")
        hidden = fields.hidden_size
        if hidden is None:
            raise fields.missing("hidden_size")
        if hidden % query:
            raise fields.bad(name, f"is {hidden}, not a multiple of {query} heads, and head_dim is missing")
        dim = hidden // query
        if dim > MOST_SIZE:
            raise fields.bad(name, f"is {hidden}: a head dim of {dim} is none that a model has")
    value_dim = fields.v_head_dim
    if value_dim not in (None, dim):
        raise fields.bad("v_head_dim", f"is {value_dim}, unlike head_dim ({dim}): that isn't tuned yet")
    return dim
