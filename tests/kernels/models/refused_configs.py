"""config.json files, and files like them, that are no decoder whose attention is tuned; each with its reason."""

from __future__ import annotations

from typing import Any

from family_configs import usual

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "clip's vision tower": (
        {"model_type": "clip_vision_model", "num_attention_heads": 16, "hidden_size": 1280, "num_hidden_layers": 32},
        "model_type is 'clip_vision_model', which is an encoder, not a decoder",
    ),
    "clip": (
        {"model_type": "clip", "text_config": usual("clip_text_model", 8, 8, 512, 12)},
        "an encoder, not a decoder",
    ),
    "vit": (usual("vit", 12, 12, 768, 12, image_size=224, patch_size=16), "an encoder, not a decoder"),
    "remote code's encoders": (usual("new", 12, 12, 768, 12, architectures=["NewModel"]), "an encoder, not a decoder"),
    "an unknown bert": (usual("neo_bert_v2", 12, 12, 768, 12), "an encoder, not a decoder"),
    "remote code's encoder-decoder": (
        {"model_type": "mine", "encoder_layers": 6, "decoder_layers": 6, "d_model": 512, "num_heads": 8},
        "encoder_layers and decoder_layers are there: only decoder-only models are tuned",
    ),
    "wav2vec": (usual("wav2vec2", 12, 12, 768, 12), "an encoder, not a decoder"),
    "an unknown vision tower": (
        usual("my_tower", 16, 16, 1024, 24, image_size=336, patch_size=14) | {"num_key_value_heads": None},
        "a vision tower is an encoder, not a decoder",
    ),
    "a vision tower by its class": (
        {"architectures": ["FooVisionModel"], "num_attention_heads": 16},
        "architectures has 'FooVisionModel', which is an encoder, not a decoder",
    ),
    "embeddinggemma": (
        usual("gemma3_text", 3, 1, 768, 24, head_dim=256, use_bidirectional_attention=True),
        "use_bidirectional_attention is set: the model is an encoder, not a decoder",
    ),
    "t5": ({"model_type": "t5", "num_heads": 8, "d_kv": 64, "d_model": 512, "num_layers": 6}, "an encoder-decoder"),
    "whisper": ({"model_type": "whisper", "is_encoder_decoder": True, "d_model": 1280}, "is_encoder_decoder is true"),
    "blip2 on t5": (
        {"model_type": "blip-2", "text_config": {"model_type": "t5"}},
        "text_config.model_type is 't5', an enc",
    ),
    "mamba": ({"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64}, "it has no attention to tune"),
    "a pure mamba granite": (
        usual("granitemoehybrid", 32, 8, 4096, 2, layer_types=["mamba", "mamba"]),
        "layer_types has no softmax attention that is tuned, only 'mamba'",
    ),
    "deepseek-v3 without its sizes": (
        usual("deepseek_v3", 128, 128, 7168, 61, kv_lora_rank=512),
        "qk_rope_head_dim is missing",
    ),
    "deepseek-vl2 by its class": (
        {"model_type": "deepseek_vl_v2", "language_config": {"model_type": "deepseek_v2", "hidden_size": 2048}},
        "language_config.qk_rope_head_dim is missing",
    ),
    "gemma-4 that lost its full layers": (
        usual("gemma4_text", 16, 8, 2816, 6, head_dim=256, per_layer_config={})
        | {"layer_types": ["sliding_attention"] * 5 + ["full_attention"], "sliding_window": 1024},
        "per_layer_config is empty: gemma4_text's full layers have another head dim",
    ),
    "an adapter": ({"peft_type": "LORA", "r": 16}, "this is a PEFT adapter's configuration"),
    "a tokenizer": ({"tokenizer_class": "LlamaTokenizer"}, "this is a tokenizer's configuration"),
    "generation": ({"do_sample": True, "eos_token_id": 2}, "this is a generation configuration"),
    "diffusers": ({"_class_name": "UNet2DConditionModel"}, "this is a diffusion model's part"),
}
