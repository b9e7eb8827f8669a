"""The catalogue: rules that every model's file keeps, and how tensor parallelism divides heads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.errors import BadField, BadGeometry, UnknownName
from autotune_cli.kernels.models import LayerKind, catalog, load_model, model_names
from autotune_cli.kernels.models.config import model_from_config
from autotune_cli.kernels.models.fields import Fields

FOLDER = Path(catalog.__file__).parent


def file_of(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", model_names())
def test_a_file_says_where_its_numbers_are_from(name: str) -> None:
    data = file_of(name)
    assert set(data) <= {"repo", "checked", "note", "config"}
    owner, _, repository = data["repo"].partition("/")
    assert owner
    # A published variant of the model, such as its instruction-tuned one, may be the file that was read.
    assert repository.lower().startswith(name)
    assert load_model(data["repo"]).name == name
    model = load_model(name)
    assert (model.name, model.source, model.checked) == (name, data["repo"], data["checked"])
    assert len(model.checked.split()) > 3
    if "note" in data:
        assert model.notes == (data["note"],)


@pytest.mark.parametrize("name", model_names())
def test_every_layer_is_tuned_with_the_file_s_numbers(name: str) -> None:
    config, model = file_of(name)["config"], load_model(name)
    assert model.num_attention_heads == config["num_attention_heads"]
    assert model.max_context == config["max_position_embeddings"]
    assert model.topk == config.get("index_topk")
    # Plain or latent attention: a model with neither has nothing to tune.
    assert (model.latent is None) == bool(model.layers)
    if model.latent is not None:
        assert model.latent.num_heads == config["num_attention_heads"]
        sizes = ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim")
        assert [getattr(model.latent, name) for name in sizes] == [config[name] for name in sizes]
        return
    assert sum(layer.count for layer in model.layers) == config["num_hidden_layers"]
    windows = [layer.window for layer in model.layers]
    assert len(set(windows)) == len(windows)
    assert windows == sorted(windows, key=lambda window: (window is not None, window or 0))
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    for layer in model.layers:
        assert layer.num_qo_heads == config["num_attention_heads"]
        assert layer.num_kv_heads == config["num_key_value_heads"]
        assert layer.head_dim == dim
        assert layer.window in (None, config.get("sliding_window"))
        assert layer.softcap == config.get("attn_logit_softcapping")
        assert layer.sinks == (config["model_type"] == "gpt_oss")


@pytest.mark.parametrize("name", model_names())
def test_what_is_left_out_is_said(name: str) -> None:
    """A file whose model isn't tuned as it is has a note, by the reader or by hand; one that is needs none."""
    data = file_of(name)
    read = model_from_config(data["config"], name=name, where=name, source="test")
    assert bool(load_model(name).notes) == (bool(read.notes) or "note" in data)


@pytest.mark.parametrize("name", model_names())
def test_a_file_has_fields_that_a_published_one_has(name: str) -> None:
    """Spelt as the canonical name, which is that of the published files: no alias is needed, and none is misspelt."""
    aliases = {alias for canonical in Fields.model_fields for alias in Fields.names_of(canonical)[1:]}
    assert not aliases & set(file_of(name)["config"])


@pytest.mark.parametrize("tp", [1, 2, 3, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("name", model_names())
def test_tensor_parallelism(name: str, tp: int) -> None:
    model = load_model(name)
    even = model.num_attention_heads % tp == 0 and all(
        layer.num_kv_heads % tp == 0 or tp % layer.num_kv_heads == 0 for layer in model.layers
    )
    if not even:
        with pytest.raises(BadGeometry, match=f"^{name} tp={tp}: .* heads"):
            model.geometries(tp)
        return
    for layer, geometry in zip(model.layers, model.geometries(tp), strict=True):
        assert geometry.num_qo_heads * tp == layer.num_qo_heads
        # Shared out, or one on each GPU.
        assert geometry.num_kv_heads == max(1, layer.num_kv_heads // tp)
        assert geometry.head_dim == layer.head_dim


@pytest.mark.parametrize(
    ("name", "tp", "message"),
    [
        ("qwen2.5-7b", 8, "qwen2.5-7b tp=8: 28 query heads don't divide by 8"),
        ("qwen2.5-7b", 14, "qwen2.5-7b tp=14: 4 KV heads can't be replicated evenly: 14 is no multiple of 4"),
        ("llama-3.1-8b", 64, "llama-3.1-8b tp=64: 32 query heads don't divide by 64"),
        ("deepseek-v3.2", 3, "deepseek-v3.2 tp=3: 128 query heads don't divide by 3"),
    ],
)
def test_heads_that_cannot_be_shared_out(name: str, tp: int, message: str) -> None:
    with pytest.raises(BadGeometry) as error:
        load_model(name).geometries(tp)
    assert str(error.value) == message


def test_kv_heads_that_cannot_be_shared_out() -> None:
    layer = LayerKind(count=1, num_qo_heads=12, num_kv_heads=6, head_dim=64)
    with pytest.raises(BadGeometry, match="6 KV heads don't divide by 4"):
        layer.geometry("bfloat16", None, 4, "x --tp 4")


@pytest.mark.parametrize("tp", [0, -1, "x", 1.5, True, None, "1,2"])
def test_bad_tp(tp: object) -> None:
    with pytest.raises(BadField, match="tp"):
        load_model("qwen3-8b").geometries(tp)  # type: ignore[arg-type]


def test_window_left_excludes_the_query_itself() -> None:
    full, windowed = load_model("gpt-oss-120b").geometries()
    assert (full.window_left, windowed.window_left) == (None, 127)


def test_dtypes() -> None:
    (geometry,) = load_model("qwen3-8b").geometries(1, "float16", "float8_e4m3fn")
    assert (geometry.dtype, geometry.cache_dtype) == ("float16", "float8_e4m3fn")
    (same,) = load_model("qwen3-8b").geometries(1, "float16", "float16")
    assert same.kv_dtype is None
    (rounded,) = load_model("qwen3-8b").geometries(1, "float16", "float8_e4m3fn", "float8_e4m3fn")
    assert rounded.q_dtype == "float8_e4m3fn"


@pytest.mark.parametrize("name", ["llama-3.1-8b", "Llama-3.1-8B", " LLAMA-3.1-8B ", "meta-llama/Llama-3.1-8B"])
def test_names_in_any_case_and_repositories(name: str) -> None:
    assert load_model(name).name == "llama-3.1-8b"


@pytest.mark.parametrize("name", ["llama-3.1-8", "", "../workload", "someone/llama-3.1-8b", "x" * 5000])
def test_unknown_model(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown model"):
        load_model(name)


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'qwen2\.5-7b'"):
        load_model("qwen-2.5-7b")


def test_importing_loads_no_torch() -> None:
    code = "import sys, autotune_cli.kernels.models as m; m.build_suite(None, 'cuda'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
