"""What a checkpoint's quantisation says of the KV cache, and what SGLang takes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.models import Model, build_suite, read_config
from autotune_cli.kernels.models.cache_dtype import read_cache_dtype
from autotune_cli.kernels.models.config import model_from_config

FP8 = "float8_e4m3fn"
SCHEME = {"type": "float", "num_bits": 8}
STATIC = SCHEME | {"strategy": "tensor", "dynamic": False, "symmetric": True}
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 2,
}


def model(**changes: Any) -> Model:
    return model_from_config(CONFIG | changes, name="m", where="config.json", source="test")


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": SCHEME},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "kv_cache_scheme": SCHEME | {"dynamic": False}},
        {"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "kv_cache_quant_algo": "fp8"},
        {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
        {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}},
        {"quant_method": "fp8", "kv_cache_quant_algo": "FP8"},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": STATIC},
    ],
    ids=str,
)
def test_an_fp8_cache_as_the_server_takes_it(quantization: dict[str, Any]) -> None:
    assert read_cache_dtype(quantization)[0] == FP8
    (note,) = read_cache_dtype(quantization)[1]
    assert "float8_e4m3fn cache, which SGLang takes" in note
    read = model(quantization_config=quantization)
    assert [geometry.cache_dtype for geometry in read.geometries()] == [FP8]
    assert read.notes == (note,)


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "compressed-tensors", "kv_cache_scheme": STATIC | {"strategy": "attn_head"}},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": STATIC | {"dynamic": True}},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": STATIC | {"symmetric": False}},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": STATIC | {"type": "int"}},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": SCHEME},
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_scheme": {"type": "float", "num_bits": 4}},
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "NVFP4"},
        {"quant_method": "fp8", "kv_cache_scheme": SCHEME},
        {"quant_method": "other", "kv_cache_quant_algo": "FP8"},
        {"quant_method": "modelopt", "kv_cache_scheme": ["FP8"]},
        {"quant_method": 8, "kv_cache_scheme": 8},
    ],
    ids=str,
)
def test_another_scheme_is_noted(quantization: dict[str, Any]) -> None:
    dtype, (note,) = read_cache_dtype(quantization)
    assert dtype is None
    assert "asks for a quantised cache, which SGLang 0.5.23 doesn't take from" in note


@pytest.mark.parametrize(
    "quantization",
    [
        None,
        "fp8",
        [],
        {},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": None},
        {"quant_method": "modelopt", "kv_cache_quant_algo": None, "kv_cache_scheme": {}},
        {"quant_method": "modelopt", "kv_cache_quant_algo": "none"},
        {"quantization": "fp8"},
    ],
    ids=str,
)
def test_nothing_said_is_nothing_noted(quantization: object) -> None:
    assert read_cache_dtype(quantization) == (None, [])


def test_the_file_beside_a_config_counts_unless_the_config_says_more(tmp_path: Path) -> None:
    path, beside = tmp_path / "config.json", tmp_path / "hf_quant_config.json"
    path.write_text(json.dumps(CONFIG))
    beside.write_text(json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}))
    assert read_config(path).kv_dtype == FP8
    path.write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "fp8"}}))
    assert read_config(path).kv_dtype is None
    path.write_text(json.dumps(CONFIG))
    beside.write_text("{")
    assert read_config(path).kv_dtype is None


def test_a_suite_has_the_cache_of_the_checkpoint_unless_asked_otherwise() -> None:
    read = model(quantization_config={"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"})

    def geometries(**options: Any) -> set[tuple[str, str | None]]:
        made = build_suite(read, "cuda", operations="attention", **options).workloads
        return {(w.geometry.cache_dtype, w.geometry.q_dtype) for w in made if isinstance(w, AttentionWorkload)}

    assert geometries() == {(FP8, FP8)}
    assert geometries(q_dtype="bf16") == {(FP8, None)}
    assert geometries(kv_dtype="bf16") == {("bfloat16", None)}
