"""The catalogue: golden geometries of every model, and how tensor parallelism divides them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autotune_cli.errors import BadField, BadGeometry, UnknownName
from autotune_cli.kernels.models import LayerKind, load_model, model_names

# (layers, query heads, KV heads, head dim, window, softcap) of each kind, full layers first.
GOLDEN: dict[str, tuple[tuple[int, int, int, int, int | None, float | None], ...]] = {
    "deepseek-v3.2": (),
    "gemma-2-9b": ((21, 16, 8, 256, None, 50.0), (21, 16, 8, 256, 4096, 50.0)),
    "gpt-oss-120b": ((18, 64, 8, 64, None, None), (18, 64, 8, 64, 128, None)),
    "llama-3.1-70b": ((80, 64, 8, 128, None, None),),
    "llama-3.1-8b": ((32, 32, 8, 128, None, None),),
    "mistral-7b-v0.1": ((32, 32, 8, 128, None, None),),
    "qwen2.5-7b": ((28, 28, 4, 128, None, None),),
    "qwen3-235b-a22b": ((94, 64, 4, 128, None, None),),
    "qwen3-8b": ((36, 32, 8, 128, None, None),),
}
CONTEXTS = {
    "deepseek-v3.2": 163840,
    "gemma-2-9b": 8192,
    "gpt-oss-120b": 131072,
    "llama-3.1-70b": 131072,
    "llama-3.1-8b": 131072,
    "mistral-7b-v0.1": 32768,
    "qwen2.5-7b": 131072,
    "qwen3-235b-a22b": 40960,
    "qwen3-8b": 40960,
}


def test_the_catalogue_has_the_models_of_the_golden_table() -> None:
    assert model_names() == tuple(sorted(GOLDEN))


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_geometry(name: str) -> None:
    model = load_model(name)
    kinds = [(k.count, k.num_qo_heads, k.num_kv_heads, k.head_dim, k.window, k.softcap) for k in model.layers]
    assert tuple(kinds) == GOLDEN[name]
    assert model.max_context == CONTEXTS[name]
    assert model.dtype == "bfloat16"
    assert model.topk == (2048 if name == "deepseek-v3.2" else None)
    assert "/" in model.source
    assert model.checked


def test_notes_say_what_is_left_out() -> None:
    assert "MLA" in " ".join(load_model("deepseek-v3.2").notes)


@pytest.mark.parametrize(
    ("name", "tp", "heads"),
    [
        ("llama-3.1-8b", 1, "32/8"),
        ("llama-3.1-8b", 8, "4/1"),
        ("llama-3.1-8b", 16, "2/1"),
        ("llama-3.1-8b", 32, "1/1"),
        ("llama-3.1-70b", 1, "64/8"),
        ("llama-3.1-70b", 4, "16/2"),
        ("llama-3.1-70b", 8, "8/1"),
        ("qwen3-8b", 2, "16/4"),
        ("qwen2.5-7b", 1, "28/4"),
        ("qwen2.5-7b", 2, "14/2"),
        ("qwen2.5-7b", 4, "7/1"),
        ("qwen2.5-7b", 28, "1/1"),
        ("qwen3-235b-a22b", 4, "16/1"),
        ("qwen3-235b-a22b", 8, "8/1"),
        ("gemma-2-9b", 4, "4/2"),
        ("gpt-oss-120b", 8, "8/1"),
        ("mistral-7b-v0.1", 2, "16/4"),
    ],
)
def test_tensor_parallelism(name: str, tp: int, heads: str) -> None:
    for geometry in load_model(name).geometries(tp):
        assert f"{geometry.num_qo_heads}/{geometry.num_kv_heads}" == heads


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


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_sinks_are_tuned(name: str) -> None:
    model = load_model(name)
    assert {layer.sinks for layer in model.layers} <= {name == "gpt-oss-120b"}
    assert "left out" not in " ".join(model.notes)


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
