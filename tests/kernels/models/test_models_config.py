"""Reading config.json files: those of the catalogue's models, odd ones, and broken ones."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hf_configs import CONFIGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models import Model, load_model, read_config
from autotune_cli.kernels.models.config import model_from_config, suite_name

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 6,
}


def write(folder: Path, config: Any, name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def small(**changes: Any) -> Model:
    config = {key: value for key, value in (SMALL | changes).items() if value != "absent"}
    return model_from_config(config, name="m", where="config.json", source="test")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_real_file_gives_the_catalogue_s_model(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    read, known = read_config(write(folder, CONFIGS[name])), load_model(name)
    assert read.layers == known.layers
    assert (read.name, read.dtype, read.topk) == (known.name, known.dtype, known.topk)
    assert (read.max_context, read.num_attention_heads) == (known.max_context, known.num_attention_heads)


def windows(model: Model) -> dict[int | None, int]:
    return {layer.window: layer.count for layer in model.layers}


def test_absent_fields_take_their_defaults() -> None:
    model = small(num_key_value_heads="absent", head_dim=None, hidden_size=512)
    (layer,) = model.layers
    assert (layer.num_kv_heads, layer.head_dim, layer.window, layer.softcap) == (8, 64, None, None)
    assert (model.dtype, model.max_context, model.notes) == ("bfloat16", None, ())


def test_gpt2_s_names() -> None:
    config = {"model_type": "gpt2", "n_head": 12, "n_embd": 768, "n_layer": 12, "n_positions": 1024}
    model = model_from_config(config, name="m", where="x", source="x")
    assert (model.layers[0].num_kv_heads, model.layers[0].head_dim, model.max_context) == (12, 64, 1024)


def test_falcon_s_multi_query_has_one_kv_head() -> None:
    assert small(num_key_value_heads="absent", multi_query=True).layers[0].num_kv_heads == 1
    newer = small(num_key_value_heads="absent", multi_query=True, new_decoder_architecture=True, num_kv_heads=4)
    assert newer.layers[0].num_kv_heads == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sliding_window": 128}, {128: 6}),
        ({"sliding_window": None}, {None: 6}),
        ({"sliding_window": 128, "use_sliding_window": False}, {None: 6}),
        ({"sliding_window": 128, "model_type": "qwen3"}, {None: 6}),
        ({"sliding_window": 128, "model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 2}, {None: 6}),
        ({"sliding_window": 128, "use_sliding_window": True, "max_window_layers": 2}, {None: 2, 128: 4}),
        ({"sliding_window": 128, "layer_types": ["full_attention"] * 6}, {None: 6}),
        ({"sliding_window": 128, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}, {None: 1, 128: 5}),
        ({"sliding_window": 128, "model_type": "gemma2"}, {None: 3, 128: 3}),
        ({"sliding_window": 128, "model_type": "gemma2", "num_hidden_layers": 7}, {None: 3, 128: 4}),
        ({"sliding_window": 128, "sliding_window_pattern": 6}, {None: 1, 128: 5}),
        ({"sliding_window": 128, "model_type": "gemma3_text"}, {None: 1, 128: 5}),
        ({"model_type": "qwen3_next", "full_attention_interval": 3}, {None: 2}),
    ],
)
def test_windows(changes: dict[str, Any], expected: dict[int | None, int]) -> None:
    assert windows(small(**changes)) == expected


def test_layers_that_are_left_out_are_noted() -> None:
    model = small(layer_types=["linear_attention"] * 4 + ["full_attention"] * 2)
    assert windows(model) == {None: 2}
    assert model.notes == ("4 layers of type 'linear_attention' are left out",)


@pytest.mark.parametrize(
    ("changes", "sinks"),
    [
        ({}, {None: False, 64: False}),
        ({"model_type": "gpt_oss"}, {None: True, 64: True}),
        ({"add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False}, {None: False, 64: True}),
        ({"add_swa_attention_sink_bias": None}, {None: False, 64: False}),
    ],
    ids=str,
)
def test_sinks(changes: dict[str, Any], sinks: dict[int | None, bool]) -> None:
    model = small(sliding_window=64, layer_types=["sliding_attention", "full_attention"] * 3, **changes)
    assert {layer.window: layer.sinks for layer in model.layers} == sinks
    assert {geometry.sinks for geometry in model.geometries()} == set(sinks.values())


def test_sinks_that_are_no_flag_are_refused() -> None:
    with pytest.raises(BadConfig, match="add_full_attention_sink_bias must be true or false, not 1"):
        small(add_full_attention_sink_bias=1)


def test_multimodal_files_nest_the_text_model() -> None:
    nested = {"text_config": {**SMALL, "torch_dtype": "float32"}, "vision_config": {"num_attention_heads": 16}}
    model = model_from_config({**nested, "torch_dtype": "float16"}, name="m", where="x", source="x")
    assert model.layers == small().layers
    assert model.dtype == "float16"
    flat = model_from_config({**SMALL, "text_config": {"model_type": "x"}}, name="m", where="x", source="x")
    assert flat.layers == small().layers


@pytest.mark.parametrize(
    ("changes", "dtype", "note"),
    [
        ({"dtype": "float16"}, "float16", ""),
        ({"torch_dtype": "torch.bfloat16"}, "bfloat16", ""),
        ({"torch_dtype": "auto"}, "bfloat16", ""),
        ({"torch_dtype": "float32"}, "bfloat16", "torch_dtype is float32"),
        ({"query_pre_attn_scalar": 144}, "bfloat16", "softmax scale"),
        ({"model_type": "gpt_oss", "sliding_window": 128}, "bfloat16", ""),
        ({"dtype": "bf16"}, "bfloat16", ""),
        ({"torch_dtype": "float8_e4m3fn"}, "bfloat16", "torch_dtype is float8_e4m3fn"),
        ({"attention_chunk_size": 8192}, "bfloat16", "chunked"),
    ],
)
def test_dtypes_and_notes(changes: dict[str, Any], dtype: str, note: str) -> None:
    model = small(**changes)
    assert model.dtype == dtype
    assert note in " ".join(model.notes)
    assert bool(note) == bool(model.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": "absent"}, "num_attention_heads is missing"),
        ({"num_hidden_layers": "absent"}, "num_hidden_layers is missing"),
        ({"head_dim": "absent"}, "hidden_size is missing"),
        ({"head_dim": None, "hidden_size": 100}, "hidden_size is 100, not a multiple of 8 heads"),
        ({"num_attention_heads": "32"}, "num_attention_heads must be a whole number, not '32'"),
        ({"num_attention_heads": 8.5}, "num_attention_heads must be a whole number"),
        ({"num_attention_heads": True}, "num_attention_heads must be a whole number"),
        ({"num_attention_heads": [8, 4]}, "num_attention_heads has 2 entries for 6 layers"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3, which doesn't divide 8"),
        ({"num_key_value_heads": 16}, "num_key_value_heads is 16, which doesn't divide 8"),
        ({"head_dim": -64}, "head_dim is -64"),
        ({"head_dim": 10**30}, "head_dim is 10"),
        ({"v_head_dim": 128}, "v_head_dim is 128"),
        ({"sliding_window": -1}, "sliding_window is -1"),
        ({"sliding_window": "4096"}, "sliding_window must be a whole number"),
        ({"use_sliding_window": "no"}, "use_sliding_window must be true or false"),
        (
            {"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True, "max_window_layers": -1},
            "max_window",
        ),
        ({"layer_types": ["sliding_attention"]}, "sliding_window is missing or off"),
        ({"layer_types": []}, "layer_types must be a list"),
        ({"layer_types": [1]}, "layer_types must be a list"),
        ({"layer_types": ["mamba"]}, "layer_types has no softmax attention"),
        ({"attn_logit_softcapping": -1}, "attn_logit_softcapping is -1"),
        ({"attn_logit_softcapping": float("nan")}, "attn_logit_softcapping is nan"),
        ({"attn_logit_softcapping": float("inf")}, "attn_logit_softcapping is inf"),
        ({"attn_logit_softcapping": 10**400}, "attn_logit_softcapping is 1000"),
        ({"attn_logit_softcapping": "50"}, "attn_logit_softcapping must be a number"),
        ({"torch_dtype": "int8"}, "torch_dtype is 'int8'"),
        ({"torch_dtype": 16}, "torch_dtype is '16'"),
        ({"torch_dtype": ["bfloat16"]}, "torch_dtype is"),
        ({"index_topk": 0}, "index_topk is 0"),
        ({"max_position_embeddings": "long"}, "max_position_embeddings must be a whole number"),
        ({"kv_lora_rank": 512}, "qk_rope_head_dim is missing"),
        ({"model_type": "bert"}, "an encoder has no KV cache"),
        ({"architectures": ["FooForMaskedLM"]}, "an encoder has no KV cache"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is true"),
        ({"text_config": "x"}, "text_config must be an object"),
        ({"text_config": {"num_attention_heads": 0}}, "text_config.num_attention_heads is 0"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig) as error:
        small(**changes)
    assert str(error.value).startswith("config.json: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "isn't JSON"),
        ("{", "isn't JSON"),
        ("[1]", "the top level must be an object"),
        ("null", "the top level must be an object"),
        ("{}", "num_attention_heads is missing"),
        ('{"num_attention_heads": ' + "9" * 5000 + "}", "isn't JSON"),
        ("[" * 200_000, "isn't JSON"),
    ],
)
def test_files_that_are_no_config(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(BadConfig) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="is a folder; give the config"):
        read_config(tmp_path)
    with pytest.raises(BadConfig, match="no such file"):
        read_config(tmp_path / "none.json")
    with pytest.raises(BadConfig, match="can't be read"):
        read_config(tmp_path / ("x" * 300))
    with pytest.raises(BadConfig):
        read_config(str(tmp_path / "a\0b"))
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(BadConfig, match="isn't JSON"):
        read_config(tmp_path / "config.json")
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(BadConfig, match="over 16 MiB"):
        read_config(tmp_path / "big.json")


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL), encoding="utf-8-sig")
    assert read_config(tmp_path / "config.json").layers


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/My Model (v2)/config.json", "my-model-v2"),
        ("/models/phi_3.json", "phi_3"),
        ("/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64/config.json", "qwen3-8b"),
        ("/config.json", "model"),
        ("/../config.json", "model"),
        ("/模型/config.json", "model"),
        ("/" + "a" * 200 + "/config.json", "a" * 80),
    ],
)
def test_names_are_safe(path: str, name: str) -> None:
    assert suite_name(Path(path)) == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abfl_\n16'", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=5), inner, max_size=3),
    max_leaves=4,
)
ALL_FIELDS = sorted({key for config in CONFIGS.values() for key in config} | {"text_config", "layer_types"})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(CONFIGS)), st.dictionaries(st.sampled_from(ALL_FIELDS), json_values, max_size=4))
def test_any_value_in_any_field_gives_a_model_or_a_clear_line(name: str, changes: dict[str, Any]) -> None:
    with suppress(BadConfig):  # any other exception fails
        model = model_from_config(CONFIGS[name] | changes, name="m", where="config.json", source="x")
        assert model.layers or model.latent or model.topk
