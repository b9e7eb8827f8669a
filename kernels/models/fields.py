"""The fields of a Hugging Face config.json that are read, their types, and what publishers call them.

Names are those of attribute_map in transformers' classes (5.24.0), remote code of Falcon (n_head_kv), MPT and DBRX
(n_heads, d_model), ChatGLM (num_layers, kv_channels), OpenELM (num_query_heads, model_dim, num_transformer_layers),
Mistral's and Llama's params.json (dim, n_kv_heads), DeciLM (.._per_layer), Step3 (num_attention_groups).
"""

from __future__ import annotations

from autotune_cli.kernels.models.checked import (
    MOST_SIZE,
    Count,
    Names,
    Numbers,
    PerLayer,
    Positive,
    Read,
    Size,
    Switch,
    Width,
    called,
    shown,
)

__all__ = ["MOST_SIZE", "Fields", "Part"]

_HEADS = (
    "num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads", "attention_heads",
    "num_attention_heads_per_layer",
)  # fmt: skip
_KV_HEADS = (
    "num_key_value_heads", "n_head_kv", "num_kv_heads", "n_kv_heads", "n_kv_head", "kv_n_heads",
    "num_attention_groups", "num_query_groups", "n_query_groups", "num_key_value_heads_per_layer",
)  # fmt: skip
_HEAD_DIM = ("head_dim", "attention_head_dim", "kv_channels", "attention_head_size", "hidden_size_per_head")
_WINDOW = ("sliding_window", "sliding_window_size", "attention_window_size", "window_size")


class _Nested(Read):
    def section(self, name: str) -> Part | None:
        """The fields of a nested object; None: absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.bad(name, f"must be an object, not {shown(value)}")
        return Part.of(self.where, value, f"{self.prefix}{name}.", "")


class Part(_Nested):
    """What objects inside a file tell of some of its layers."""

    num_attention_heads: Size | None = called(*_HEADS)
    num_key_value_heads: Size | None = called(*_KV_HEADS)
    head_dim: Size | None = called(*_HEAD_DIM)
    sliding_window: Switch = called(*_WINDOW)

    # Nemotron-NAS's blocks.
    n_heads_in_group: Size | None = None
    window_length: Switch = None
    no_op: bool | None = None
    replace_with_linear: bool | None = None

    # Kimi Linear.
    full_attn_layers: Numbers | None = None


class Fields(_Nested):
    """A language model's fields."""

    num_attention_heads: PerLayer | None = called(*_HEADS)
    num_key_value_heads: PerLayer | None = called(*_KV_HEADS)
    head_dim: PerLayer | None = called(*_HEAD_DIM)
    hidden_size: Width | None = called("hidden_size", "n_embd", "d_model", "n_embed", "embed_dim", "model_dim", "dim")
    num_hidden_layers: Size | None = called(
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"
    )
    max_position_embeddings: Count | None = called(
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx"
    )
    sliding_window: Switch = called(*_WINDOW)
    use_sliding_window: bool | None = None
    attn_logit_softcapping: Positive = called("attn_logit_softcapping", "max_attn_value")
    query_pre_attn_scalar: Positive = None
    v_head_dim: Switch = None
    kv_lora_rank: Switch = None
    qk_rope_head_dim: Switch = None
    qk_nope_head_dim: Switch = None
    index_topk: Count | None = None
    index_n_heads: Count | None = None
    index_head_dim: Count | None = None

    # What kind of model it is.
    architectures: Names | None = None
    is_encoder_decoder: bool | None = None
    is_decoder: bool | None = None

    # KV heads of Falcon, GPT-BigCode and ChatGLM.
    multi_query: bool | None = None
    new_decoder_architecture: bool | None = None
    multi_query_attention: bool | None = None
    multi_query_group_num: Size | None = None

    # Heads of layers with a window, and of full ones beside them.
    swa_num_attention_heads: Size | None = called("swa_num_attention_heads", "num_swa_attention_heads")
    swa_num_key_value_heads: Size | None = called("swa_num_key_value_heads", "num_swa_key_value_heads")
    swa_head_dim: Size | None = None
    global_head_dim: Size | None = None
    num_global_key_value_heads: Size | None = None
    attention_k_eq_v: bool | None = None

    # Numbers by layer beside the one of most layers (Laguna).
    num_attention_heads_per_layer: PerLayer | None = None
    num_key_value_heads_per_layer: PerLayer | None = None
    head_dim_per_layer: PerLayer | None = None

    # Which layers have which kind of attention.
    layer_types: Names | None = None
    layers_block_type: Names | None = None
    block_types: Names | None = None
    mixer_types: Names | None = None
    attention_window_size: Switch = None
    full_attention_interval: Switch = None
    attn_layer_period: Switch = None
    attn_layer_offset: Switch = None
    mamba_step: Switch = None
    layer_group_size: Switch = None
    attn_layer_indices: Numbers | None = None
    full_attn_idxs: Numbers | None = None
    attn_type_list: Numbers | None = None
    hybrid_layer_pattern: Numbers | None = None
    sliding_window_layers: Numbers | None = None
    local_layer_ids: Numbers | None = None
    sliding_window_pattern: Switch = None
    own_sliding_window_pattern: Switch = called("_sliding_window_pattern")
    global_attn_every_n_layers: Switch = None
    cross_attention_layers: Numbers | None = None

    # Attention that is tuned as dense.
    attention_chunk_size: Switch = None
    dense_attention_every_n_layers: Switch = None

    # Sinks of MiMo-V2.
    add_full_attention_sink_bias: bool | None = None
    add_swa_attention_sink_bias: bool | None = None
