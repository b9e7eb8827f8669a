"""config.json files of families that tell their attention in their own way, cut to the fields that say it.

Each has what it means: (layers, query heads, KV heads, head dim, window) of each kind, and what its notes say.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Kind = tuple[int, int, int, int, int | None]


class Case(NamedTuple):
    """A file, the kinds of layers in it, and words of its notes (none: it has no notes)."""

    config: dict[str, Any]
    kinds: tuple[Kind, ...]
    notes: tuple[str, ...] = ()


def usual(kind: str, query: int, kv: int, hidden: int, layers: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_attention_heads": query, "num_key_value_heads": kv, "hidden_size": hidden}
    return {"model_type": kind, **sizes, "num_hidden_layers": layers, **more}


# Names of fields.
NAMES: dict[str, Case] = {
    "llama-2-7b without KV heads": Case(
        {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32},
        ((32, 32, 32, 128, None),),
    ),
    "yi-34b": Case(usual("Yi", 56, 8, 7168, 60), ((60, 56, 8, 128, None),)),
    "gpt2": Case(
        {"model_type": "gpt2", "n_head": 12, "n_embd": 768, "n_layer": 12, "n_ctx": 1024}, ((12, 12, 12, 64, None),)
    ),
    "gpt-j-6b": Case(
        {"model_type": "gptj", "n_head": 16, "n_embd": 4096, "n_layer": 28, "rotary_dim": 64},
        ((28, 16, 16, 256, None),),
    ),
    "gpt-neox-20b": Case(
        {"model_type": "gpt_neox", "num_attention_heads": 64, "hidden_size": 6144, "num_hidden_layers": 44},
        ((44, 64, 64, 96, None),),
    ),
    "gpt-neo-1.3b": Case(
        {"model_type": "gpt_neo", "num_heads": 16, "hidden_size": 2048, "num_layers": 24, "window_size": 256}
        | {"attention_types": [[["global", "local"], 12]]},
        ((12, 16, 16, 128, None), (12, 16, 16, 128, 256)),
    ),
    "starcoder": Case(
        {"model_type": "gpt_bigcode", "n_head": 48, "n_embd": 6144, "n_layer": 40, "multi_query": True},
        ((40, 48, 1, 128, None),),
    ),
    "starcoder by its class's multi_query": Case(
        {"model_type": "gpt_bigcode", "n_head": 48, "n_embd": 6144, "n_layer": 40}, ((40, 48, 1, 128, None),)
    ),
    "gpt-bigcode with all heads": Case(
        {"model_type": "gpt_bigcode", "n_head": 48, "n_embd": 6144, "n_layer": 40, "multi_query": False},
        ((40, 48, 48, 128, None),),
    ),
    "falcon-7b": Case(
        usual("falcon", 71, 71, 4544, 32) | {"num_key_value_heads": None}
        | {"multi_query": True, "new_decoder_architecture": False, "num_kv_heads": 71},
        ((32, 71, 1, 64, None),),
    ),
    "falcon-40b": Case(
        {"model_type": "falcon", "num_attention_heads": 128, "hidden_size": 8192, "num_hidden_layers": 60}
        | {"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8},
        ((60, 128, 8, 64, None),),
    ),
    "falcon-40b of 2023": Case(
        {"model_type": "RefinedWeb", "n_head": 128, "n_head_kv": 8, "hidden_size": 8192, "n_layer": 60},
        ((60, 128, 8, 64, None),),
    ),
    "falcon-7b of 2023": Case(
        {"model_type": "RefinedWebModel", "n_head": 71, "multi_query": True, "hidden_size": 4544, "n_layer": 32},
        ((32, 71, 1, 64, None),),
    ),
    "bloom-7b1": Case(
        {"model_type": "bloom", "n_head": 32, "hidden_size": 4096, "n_layer": 30, "seq_length": 2048},
        ((30, 32, 32, 128, None),),
    ),
    "opt-6.7b": Case(
        {"model_type": "opt", "num_attention_heads": 32, "hidden_size": 4096, "num_hidden_layers": 32},
        ((32, 32, 32, 128, None),),
    ),
    "mpt-7b": Case(
        {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "max_seq_len": 2048}
        | {"attn_config": {"alibi": True, "attn_type": "multihead_attention"}},
        ((32, 32, 32, 128, None),),
    ),
    "mpt with one KV head": Case(
        {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32}
        | {"attn_config": {"attn_type": "multiquery_attention", "sliding_window_size": -1}},
        ((32, 32, 1, 128, None),),
    ),
    "mpt with groups": Case(
        {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32}
        | {"attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": 8}},
        ((32, 32, 8, 128, None),),
    ),
    "dbrx": Case(
        {"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "attn_config": {"kv_n_heads": 8}},
        ((40, 48, 8, 128, None),),
    ),
    "chatglm-6b": Case(
        {"model_type": "chatglm", "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 28},
        ((28, 32, 32, 128, None),),
    ),
    "glm-4-9b-chat": Case(
        {"model_type": "chatglm", "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 40}
        | {"kv_channels": 128, "multi_query_attention": True, "multi_query_group_num": 2, "seq_length": 131072},
        ((40, 32, 2, 128, None),),
    ),
    "chatglm without groups": Case(
        {"model_type": "chatglm", "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 28}
        | {"multi_query_attention": False, "multi_query_group_num": 2},
        ((28, 32, 32, 128, None),),
    ),
    "glm-4.5": Case(usual("glm4_moe", 96, 8, 5120, 92, head_dim=128), ((92, 96, 8, 128, None),)),
    "qwen-7b of 2023": Case(
        {"model_type": "qwen", "num_attention_heads": 32, "hidden_size": 4096, "num_hidden_layers": 32}
        | {"kv_channels": 128, "seq_length": 8192, "max_position_embeddings": 8192},
        ((32, 32, 32, 128, None),),
    ),
    "phi-msft": Case(
        {"model_type": "phi-msft", "n_head": 32, "n_head_kv": None, "n_embd": 2560, "n_layer": 32, "n_positions": 2048},
        ((32, 32, 32, 80, None),),
    ),
    "step3": Case(
        {"model_type": "step3_text", "num_attention_heads": 64, "num_attention_groups": 1, "head_dim": 256}
        | {"hidden_size": 7168, "num_hidden_layers": 61},
        ((61, 64, 1, 256, None),),
    ),
    "mistral's params.json": Case(
        {"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8},
        ((32, 32, 8, 128, None),),
    ),
    "gemma-7b": Case(usual("gemma", 16, 16, 3072, 28, head_dim=256), ((28, 16, 16, 256, None),)),
    "qwen3 without head_dim": Case(
        usual("qwen3", 32, 8, 2560, 36),
        ((36, 32, 8, 128, None),),
        ("Qwen3Config (transformers 5.24.0): head_dim 128",),
    ),
    "grok-1": Case(usual("grok-1", 48, 8, 6144, 64), ((64, 48, 8, 128, None),)),
    "command-r-plus": Case(usual("cohere", 96, 8, 12288, 64), ((64, 96, 8, 128, None),)),
    "deepseek-llm-67b": Case(usual("llama", 64, 8, 8192, 95), ((95, 64, 8, 128, None),)),
    "olmo-7b": Case(usual("olmo", 32, 32, 4096, 32), ((32, 32, 32, 128, None),)),
    "persimmon-8b": Case(
        {"model_type": "persimmon", "num_attention_heads": 64, "hidden_size": 4096, "num_hidden_layers": 36},
        ((36, 64, 64, 64, None),),
    ),
    "seed-oss-36b": Case(usual("seed_oss", 80, 8, 5120, 64, head_dim=128), ((64, 80, 8, 128, None),)),
    "deepseek-vl2-tiny without MLA": Case(
        {"model_type": "deepseek_vl_v2", "language_config": {"model_type": "deepseek_v2", "num_attention_heads": 10}
        | {"num_key_value_heads": 10, "hidden_size": 1280, "num_hidden_layers": 12, "use_mla": False}
        | {"kv_lora_rank": None, "q_lora_rank": None, "qk_rope_head_dim": 0, "v_head_dim": 0}},
        ((12, 10, 10, 128, None),),
    ),
}  # fmt: skip

_NAS = {"model_type": "nemotron-nas", "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": None}

# One layer unlike another.
LAYERS: dict[str, Case] = {
    "nemotron-nas": Case(
        _NAS | {"num_hidden_layers": 3, "block_configs": [
            {"attention": {"n_heads_in_group": 8, "no_op": False, "window_length": None}},
            {"attention": {"n_heads_in_group": None, "no_op": True}},
            {"attention": {"n_heads_in_group": None, "no_op": False, "replace_with_linear": True}},
        ]},
        ((1, 64, 8, 128, None),),
        ("2 of 3 layers have no attention",),
    ),
    "nemotron-nas with several group sizes": Case(
        _NAS | {"num_hidden_layers": 3, "block_configs": [
            {"attention": {"n_heads_in_group": 8}}, {"attention": {"n_heads_in_group": 16}},
            {"attention": {"n_heads_in_group": 8, "window_length": 8192}},
        ]},
        ((1, 64, 8, 128, None), (1, 64, 4, 128, None), (1, 64, 8, 128, 8192)),
    ),
    "deci-lm-7b": Case(
        {"model_type": "deci", "num_attention_heads": 32, "hidden_size": 4096, "num_hidden_layers": 4}
        | {"num_key_value_heads_per_layer": [4, 4, 2, 1]},
        ((2, 32, 4, 128, None), (1, 32, 2, 128, None), (1, 32, 1, 128, None)),
    ),
    "openelm has more shapes than are tuned": Case(
        {"model_type": "openelm", "num_query_heads": [12, 12, 12, 16, 16, 20, 24, 28], "head_dim": 64}
        | {"model_dim": 1280, "num_kv_heads": [3, 3, 3, 4, 4, 5, 6, 7], "num_transformer_layers": 8},
        ((3, 12, 3, 64, None), (2, 16, 4, 64, None), (1, 20, 5, 64, None), (1, 24, 6, 64, None)),
        ("1 layers of 1 rarer shapes are left out",),
    ),
    "gemma-4-26b": Case(
        usual("gemma4_text", 16, 8, 2816, 6, head_dim=256, global_head_dim=512, num_global_key_value_heads=2)
        | {"layer_types": ["sliding_attention"] * 5 + ["full_attention"]}
        | {"attention_k_eq_v": True, "sliding_window": 1024},
        ((1, 16, 2, 512, None), (5, 16, 8, 256, 1024)),
    ),
    "gemma-4-26b saved again": Case(
        usual("gemma4_text", 16, 8, 2816, 12, head_dim=256, attention_k_eq_v=True, sliding_window=1024)
        | {"layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 2}
        | {"per_layer_config": {key: {"head_dim": 512, "num_key_value_heads": 2} for key in ("05", "11")}},
        ((2, 16, 2, 512, None), (10, 16, 8, 256, 1024)),
    ),
    "gemma-4 with the class's global head dim": Case(
        usual("gemma4_text", 8, 1, 1536, 6, head_dim=256, sliding_window=512),
        ((1, 8, 1, 512, None), (5, 8, 1, 256, 512)),
        ("global_head_dim 512",),
    ),
    "gemma-3-1b": Case(
        usual("gemma3_text", 4, 1, 1152, 26, head_dim=256, sliding_window=512, sliding_window_pattern=6),
        ((4, 4, 1, 256, None), (22, 4, 1, 256, 512)),
    ),
    "command-a": Case(
        usual("cohere2", 96, 8, 12288, 64, head_dim=128, sliding_window=4096, sliding_window_pattern=4),
        ((16, 96, 8, 128, None), (48, 96, 8, 128, 4096)),
    ),
    "exaone-4.0-32b": Case(
        usual("exaone4", 40, 8, 5120, 64, head_dim=128, sliding_window=4096, sliding_window_pattern="LLLG"),
        ((16, 40, 8, 128, None), (48, 40, 8, 128, 4096)),
    ),
    "baichuan-m1-14b": Case(
        usual("baichuan_m1", 20, 2, 5120, 4, sliding_window=8192, sliding_window_layers=[1, 3])
        | {"num_swa_attention_heads": 40, "num_swa_key_value_heads": 8, "swa_head_dim": 128},
        ((2, 20, 2, 256, None), (2, 40, 8, 128, 8192)),
    ),
    "step-3.5-flash": Case(
        usual("step3p5", 64, 8, 4096, 4, head_dim=128, sliding_window=512)
        | {"layer_types": ["full_attention", *["sliding_attention"] * 3, "full_attention"]}
        | {"attention_other_setting": {"num_attention_heads": 96, "num_attention_groups": 8, "head_dim": 128}},
        ((1, 64, 8, 128, None), (3, 96, 8, 128, 512)),
    ),
    "laguna": Case(
        usual("laguna", 48, 8, 2048, 3, head_dim=128, num_attention_heads_per_layer=[48, 64, 64], sliding_window=512)
        | {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        ((1, 48, 8, 128, None), (2, 64, 8, 128, 512)),
    ),
    "llama-3.2-vision": Case(
        {"model_type": "mllama", "text_config": usual("mllama_text_model", 32, 8, 4096, 40)
        | {"cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]}},
        ((32, 32, 8, 128, None),),
        ("8 layers of cross-attention are left out",),
    ),
}  # fmt: skip
