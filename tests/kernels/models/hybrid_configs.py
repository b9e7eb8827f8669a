"""More cut config.json files: hybrids, windows that don't count, nested text models, sparse attention."""

from __future__ import annotations

from family_configs import Case, usual

# Layers without attention beside some with it.
HYBRIDS: dict[str, Case] = {
    "jamba": Case(
        usual("jamba", 32, 8, 4096, 32, attn_layer_period=8, attn_layer_offset=4),
        ((4, 32, 8, 128, None),),
        ("28 layers of type 'linear_attention' are left out",),
    ),
    "bamba": Case(
        usual("bamba", 32, 8, 4096, 32, attn_layer_indices=[9, 18, 27]),
        ((3, 32, 8, 128, None),),
        ("29 layers of type",),
    ),
    "nemotron-h": Case(
        usual("nemotron_h", 32, 8, 4096, 8, head_dim=128, hybrid_override_pattern="M-M*-ME*"),
        ((2, 32, 8, 128, None),),
        ("3 layers of type 'mamba'", "2 layers of type 'mlp'", "1 layers of type 'moe'"),
    ),
    "nemotron-h saved by transformers 5": Case(
        {"model_type": "nemotron_h", "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
        | {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
        ((1, 32, 8, 128, None),),
        ("'linear_attention'", "'mlp'", "'moe'"),
    ),
    "zamba2": Case(
        usual("zamba2", 32, 32, 2560, 3, attention_head_dim=160, kv_channels=80)
        | {"layers_block_type": ["mamba", "hybrid", "mamba"]},
        ((1, 32, 32, 160, None),),
        ("2 layers of type 'mamba' are left out",),
    ),
    "recurrent-gemma-2b": Case(
        usual("recurrent_gemma", 10, 1, 2560, 26, head_dim=256, attention_window_size=2048)
        | {"block_types": ["recurrent", "recurrent", "attention"]},
        ((8, 10, 1, 256, 2048),),
        ("18 layers of type 'recurrent' are left out",),
    ),
    "granite-4.0-h": Case(
        usual("granitemoehybrid", 32, 8, 4096, 4, layer_types=["mamba", "mamba", "attention", "mamba"]),
        ((1, 32, 8, 128, None),),
        ("3 layers of type 'mamba'",),
    ),
    "lfm2": Case(
        usual("lfm2", 32, 8, 2048, 16, full_attn_idxs=[2, 5, 8, 10, 12, 14]), ((6, 32, 8, 64, None),), ("10 layers",)
    ),
    "falcon-h1": Case(usual("falcon_h1", 24, 4, 3072, 44, head_dim=128), ((44, 24, 4, 128, None),)),
    "qwen3-next": Case(
        usual("qwen3_next", 16, 2, 2048, 48, head_dim=256, full_attention_interval=4),
        ((12, 16, 2, 256, None),),
        ("36 layers of type 'linear_attention'",),
    ),
    "qwen3-next by its class": Case(
        usual("qwen3_next", 16, 2, 2048, 48, head_dim=256), ((12, 16, 2, 256, None),), ("36 layers",)
    ),
    "plamo-2": Case(
        usual("plamo2", 32, 4, 4096, 8, hidden_size_per_head=128, mamba_step=2, mamba_enabled=True),
        ((4, 32, 4, 128, None),),
        ("4 layers of type 'linear_attention'",),
    ),
    "jet-nemotron": Case(
        usual("jet_nemotron", 12, 2, 1536, 4, layer_types=["jet", "swa", "attn", "jet"])
        | {"efficient_attention_config": {"swa": {"window_size": 1152}}},
        ((1, 12, 2, 128, None), (1, 12, 2, 128, 1152)),
        ("2 layers of type 'jet'",),
    ),
    "a hybrid that doesn't say which layers": Case(
        usual("phi4flash", 40, 20, 2560, 32, mb_per_layer=2),
        ((32, 40, 20, 64, None),),
        ("'mb_per_layer' tells of state-space layers but not which: all 32 are tuned as attention",),
    ),
    "minimax-text-01": Case(
        usual("minimax_text_01", 64, 8, 6144, 8, head_dim=128, attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1]),
        ((1, 64, 8, 128, None),),
        ("7 layers",),
    ),
    "minimax-m2 is all softmax": Case(
        usual("minimax_m2", 48, 8, 3072, 4, head_dim=128, attn_type_list=[1] * 4), ((4, 48, 8, 128, None),)
    ),
}

# Windows that are off, hide nothing, or aren't served.
WINDOWS: dict[str, Case] = {
    "qwen2-moe saved again": Case(
        usual("qwen2_moe", 16, 16, 2048, 24, sliding_window=0, use_sliding_window=False)
        | {"layer_types": ["full_attention"] * 24},
        ((24, 16, 16, 128, None),),
    ),
    "grok-2": Case(
        usual("git", 64, 8, 8192, 64, head_dim=128, sliding_window_size=-1), ((64, 64, 8, 128, None),)
    ),
    "a window that is false": Case(usual("llama", 32, 8, 4096, 32, sliding_window=False), ((32, 32, 8, 128, None),)),
    "sliding layers whose window is switched off": Case(
        usual("smollm3", 16, 4, 2048, 2, sliding_window=8192, use_sliding_window=False)
        | {"layer_types": ["sliding_attention", "full_attention"]},
        ((2, 16, 4, 128, None),),
    ),
    "mistral-7b-v0.1": Case(
        usual("mistral", 32, 8, 4096, 32, sliding_window=4096, max_position_embeddings=32768),
        ((32, 32, 8, 128, None),),
        ("sliding_window 4096 is left out: SGLang 0.5.10 to 0.5.23 serves mistral without it",),
    ),
    "ministral-8b": Case(
        usual("mistral", 32, 8, 4096, 36, head_dim=128, sliding_window=32768, max_position_embeddings=32768),
        ((36, 32, 8, 128, None),),
        ("sliding_window 32768 hides nothing within max_position_embeddings 32768",),
    ),
    "phi-3-mini-4k": Case(
        usual("phi3", 32, 32, 3072, 32, sliding_window=2047, max_position_embeddings=4096),
        ((32, 32, 32, 96, None),),
        ("serves phi3 without it",),
    ),
    "phi-4-mini": Case(
        usual("phi3", 24, 8, 3072, 32, sliding_window=262144, max_position_embeddings=131072),
        ((32, 24, 8, 128, None),),
        ("sliding_window 262144 hides nothing",),
    ),
    "phi-3.5-moe": Case(
        usual("phimoe", 32, 8, 4096, 32, sliding_window=131072, max_position_embeddings=131072),
        ((32, 32, 8, 128, None),),
        ("hides nothing",),
    ),
    "starcoder2-15b": Case(
        usual("starcoder2", 48, 4, 6144, 40, sliding_window=4096, max_position_embeddings=16384),
        ((40, 48, 4, 128, None),),
        ("serves starcoder2 without it",),
    ),
    "mixtral": Case(usual("mixtral", 32, 8, 4096, 32, sliding_window=None), ((32, 32, 8, 128, None),)),
    "olmo-3": Case(
        usual("olmo3", 32, 32, 4096, 4, sliding_window=4096, max_position_embeddings=65536)
        | {"layer_types": [*["sliding_attention"] * 3, "full_attention"]},
        ((1, 32, 32, 128, None), (3, 32, 32, 128, 4096)),
    ),
    "a softcap that is off": Case(usual("gemma2", 16, 8, 3584, 2, head_dim=256, attn_logit_softcapping=0)
        | {"sliding_window": 4096}, ((1, 16, 8, 256, None), (1, 16, 8, 256, 4096))),
}  # fmt: skip

_VISION = {"vision_config": {"num_attention_heads": 16, "hidden_size": 1152, "num_hidden_layers": 27}}

# Where the language model is nested, and what of it is left to its class.
NESTED: dict[str, Case] = {
    "gemma-3-4b": Case(
        {"model_type": "gemma3", **_VISION, "text_config": {"model_type": "gemma3_text", "hidden_size": 2560}
        | {"num_hidden_layers": 34, "sliding_window": 1024}},
        ((5, 8, 4, 256, None), (29, 8, 4, 256, 1024)),
        ("Gemma3TextConfig (transformers 5.24.0): num_attention_heads 8, num_key_value_heads 4, head_dim 256",),
    ),
    "gemma-3n by its class": Case(
        {"model_type": "gemma3n", "text_config": {}},
        ((7, 8, 2, 256, None), (28, 8, 2, 256, 512)),
        ("Gemma3nTextConfig",),
    ),
    "llava-1.5": Case(
        {"model_type": "llava", **_VISION, "text_config": {"model_type": "llama", "max_position_embeddings": 4096}},
        ((32, 32, 32, 128, None),),
        ("LlamaConfig (transformers 5.24.0): num_attention_heads 32, hidden_size 4096, num_hidden_layers 32",),
    ),
    "pixtral-12b": Case(
        {"model_type": "llava", "text_config": {"model_type": "mistral", "head_dim": 128, "hidden_size": 5120}
        | {"num_hidden_layers": 40, "num_key_value_heads": 8, "sliding_window": None}},
        ((40, 32, 8, 128, None),),
        ("num_attention_heads 32",),
    ),
    "internvl": Case({"model_type": "internvl_chat", "llm_config": usual("qwen2", 28, 4, 3584, 28)},
        ((28, 28, 4, 128, None),)),
    "janus-pro-7b": Case(
        {"model_type": "multi_modality", "language_config": {"model_type": "llama", "num_hidden_layers": 30}},
        ((30, 32, 32, 128, None),),
        ("num_attention_heads 32",),
    ),
    "qwen2.5-omni": Case(
        {"model_type": "qwen2_5_omni", "talker_config": usual("qwen2_5_omni_talker", 12, 4, 896, 24)}
        | {"thinker_config": {"audio_config": {}, "text_config": usual("qwen2_5_omni_text", 28, 4, 3584, 28)}},
        ((28, 28, 4, 128, None),),
    ),
    "qwen3-omni without the inner type": Case(
        {"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": {"num_attention_heads": 32, "head_dim": 128}
        | {"num_key_value_heads": 4, "hidden_size": 2048, "num_hidden_layers": 48}}},
        ((48, 32, 4, 128, None),),
    ),
    "qwen2-vl of 2024, flat": Case(usual("qwen2_vl", 28, 4, 3584, 28) | {"vision_config": {"depth": 32}},
        ((28, 28, 4, 128, None),)),
    "a path to the language model": Case(usual("llama", 32, 8, 4096, 32, language_model="x/y", text_config=None),
        ((32, 32, 8, 128, None),)),
}  # fmt: skip

# Attention over parts of the context.
SPARSE: dict[str, Case] = {
    "minimax-m3": Case(
        usual("minimax_m3", 64, 4, 6144, 5, head_dim=128)
        | {"sparse_attention_config": {"use_sparse_attention": True, "sparse_attention_freq": [0, 0, 1, 1, 1]}},
        ((5, 64, 4, 128, None),),
        ("3 of 5 layers have block-sparse attention (sparse_attention_config): tuned as dense attention",),
    ),
    "minimax-m3 switched off": Case(
        usual("minimax_m3", 64, 4, 6144, 5, head_dim=128)
        | {"sparse_attention_config": {"use_sparse_attention": False}},
        ((5, 64, 4, 128, None),),
    ),
    "minicpm4": Case(
        usual("minicpm", 32, 2, 4096, 32, sparse_config={"kernel_size": 32, "block_size": 64, "topk": 64}),
        ((32, 32, 2, 128, None),),
        ("block-sparse attention (sparse_config)",),
    ),
    "phi-3-small": Case(
        usual("phi3small", 32, 8, 4096, 32, blocksparse_block_size=64, dense_attention_every_n_layers=2),
        ((32, 32, 8, 128, None),),
        ("16 of 32 layers have block-sparse attention",),
    ),
    "moba": Case(
        usual("llama", 32, 8, 4096, 32, moba_config={"chunk_size": 4096, "topk": 12}),
        ((32, 32, 8, 128, None),),
        ("mixture of block attention",),
    ),
    "qwen2.5-1m": Case(
        usual("qwen2", 28, 4, 3584, 28, dual_chunk_attention_config={"chunk_size": 262144}),
        ((28, 28, 4, 128, None),),
        ("dual chunk attention",),
    ),
    "llama-4-scout": Case(
        {"model_type": "llama4", "text_config": usual("llama4_text", 40, 8, 5120, 48, head_dim=128)
        | {"attention_chunk_size": 8192}},
        ((48, 40, 8, 128, None),),
        ("36 layers of chunked attention are tuned as full attention",),
    ),
}  # fmt: skip
