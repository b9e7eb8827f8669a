"""Files that describe no decoder-only language model, or one whose attention isn't tuned: each with its reason."""

from __future__ import annotations

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.known import others

# How transformers names classes that read a whole input at once.
_ENCODER_ENDS = (
    "ForMaskedLM", "ForImageClassification", "ForAudioClassification", "ForObjectDetection", "ForSemanticSegmentation",
    "ForMaskedImageModeling", "ForCTC", "EncoderModel",
)  # fmt: skip
_ENCODER_PARTS = ("VisionModel", "VisionTransformer", "AudioModel", "CLIPTextModel", "SiglipTextModel")
_ENCODER_TYPES = ("_vision", "_vision_model", "vit", "_encoder", "_qformer")
# Both of a pair are there in an encoder-decoder's file.
_PAIRS = (("encoder_layers", "decoder_layers"), ("num_decoder_layers", "d_kv"), ("encoder", "decoder"))

# Fields that only other files of a model's folder have, and what those are.
_OTHER_FILES = {
    "peft_type": "a PEFT adapter's configuration: give the config.json of the model that it adapts",
    "tokenizer_class": "a tokenizer's configuration: give the config.json beside it",
    "image_processor_type": "an image processor's configuration: give the config.json beside it",
    "feature_extractor_type": "a feature extractor's configuration: give the config.json beside it",
    "processor_class": "a processor's configuration: give the config.json beside it",
    "weight_map": "an index of weights: give the config.json beside it",
    "_class_name": "a diffusion model's part, which has no KV cache",
    "_diffusers_version": "a diffusion model's part, which has no KV cache",
    "quantization": "a file on quantization: give the config.json beside it",
    "max_new_tokens": "a generation configuration: give the config.json beside it",
    "do_sample": "a generation configuration: give the config.json beside it",
}


def refuse_others(outer: Fields, fields: Fields) -> None:
    """Raise :class:`BadConfig` for what isn't a decoder with plain attention.

    ``outer`` is the whole file, ``fields`` its language model's part.
    """
    _refuse_type(outer)
    if fields.values is not outer.values:
        _refuse_type(fields)
    if fields.model_type.endswith(_ENCODER_TYPES):
        raise fields.bad("model_type", _encoder(fields.model_type))
    _refuse_architectures(outer)
    # In a nested part it is about images (Gemma) or prefixes (PaliGemma).
    both_ways = outer.values.get("use_bidirectional_attention")
    if both_ways is True or both_ways == "all":
        raise outer.bad("use_bidirectional_attention", "is set: the model is an encoder, not a decoder")
    if outer.values.get("is_causal") is False:
        raise outer.bad("is_causal", "is false: the model is an encoder, not a decoder")
    # A part of a vision-language model, or a vision model of a type that isn't in the table.
    sees = fields.values is outer.values and outer.has("patch_size") and outer.has("image_size")
    texts = ("vocab_size", "num_key_value_heads", "max_position_embeddings", "vision_config")
    if sees and not any(outer.has(name) for name in texts):
        raise outer.bad("patch_size", "is set, and no vocab_size: a vision tower is an encoder, not a decoder")


def not_a_model(outer: Fields) -> BadConfig | None:
    """What else a file without heads is; None: nothing known."""
    for name, what in _OTHER_FILES.items():
        if outer.has(name) and not outer.has("model_type") and not outer.has("architectures"):
            return outer.bad(name, f"is there: this is {what}")
    return None


def _refuse_type(fields: Fields) -> None:
    kind, known = fields.model_type, others()
    shown = f"is {kind[:40]!r}, "
    if fields.is_encoder_decoder:
        raise fields.bad("is_encoder_decoder", "is true: only decoder-only models are tuned")
    for pair in _PAIRS:
        if all(fields.has(name) for name in pair):
            raise fields.bad(f"{pair[0]} and {pair[1]}", "are there: only decoder-only models are tuned")
    if kind in known.encoder_decoders:
        raise fields.bad("model_type", f"{shown}an encoder-decoder: only decoder-only models are tuned")
    if kind in known.recurrent:
        raise fields.bad("model_type", f"{shown}a recurrent or state-space model: it has no attention to tune")
    unknown_bert = "bert" in kind and "decoder" not in kind
    if (kind in known.encoders or unknown_bert) and not fields.is_decoder:
        raise fields.bad("model_type", _encoder(kind))


def _encoder(kind: str) -> str:
    return f"is {kind[:40]!r}, which is an encoder, not a decoder: an encoder has no KV cache"


def _refuse_architectures(outer: Fields) -> None:
    for name in outer.architectures or []:
        encoder = name.endswith(_ENCODER_ENDS) or any(part in name for part in _ENCODER_PARTS)
        if encoder and not outer.is_decoder:
            detail = f"has {name[:60]!r}, which is an encoder, not a decoder: an encoder has no KV cache"
            raise outer.bad("architectures", detail)
