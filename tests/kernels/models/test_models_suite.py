"""Suites: grids, narrowing, names, defaults."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune_cli.errors import BadField, BadGeometry, EmptySuite, UnknownName
from autotune_cli.kernels.attention.family import narrowed as narrow_attention
from autotune_cli.kernels.attention.grids import GPU_FULL
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.kernels.models import (
    CPU_MODEL,
    LayerKind,
    Model,
    Suite,
    build_suite,
    choose_model,
    model_names,
)
from autotune_cli.kernels.models.options import MOST
from autotune_cli.kernels.shapes import Wanted
from autotune_cli.kernels.topk.workload import TopkWorkload


def keys(suite: Suite) -> list[str]:
    return [workload.key for workload in suite.workloads]


def shapes(suite: Suite) -> list[str]:
    return [f"{workload.operation} {workload.shape} {workload.mode}" for workload in suite.workloads]


def test_the_llama_suite_on_a_gpu() -> None:
    suite = build_suite("llama-3.1-8b", "cuda")
    assert suite.name == "llama-3.1-8b"
    assert shapes(suite) == [
        "attention.decode 1 x 1024 graph",
        "attention.decode 1 x 8192 graph",
        "attention.decode 1 x 32768 graph",
        "attention.decode 1 x 131072 graph",
        "attention.decode 8 x 1024 graph",
        "attention.decode 8 x 8192 graph",
        "attention.decode 8 x 32768 graph",
        "attention.decode 64 x 1024 graph",
        "attention.decode 64 x 8192 graph",
        "attention.decode 128 x 4096 graph",
        "attention.prefill 1 x 512 eager",
        "attention.prefill 16 x 512 eager",
        "attention.prefill 4 x 1024 eager",
        "attention.prefill 4 x 4096 eager",
        "attention.prefill 1 x 8192 eager",
        "attention.extend 1 x 512+1536 eager",
        "attention.extend 16 x 256+3840 eager",
        "attention.extend 4 x 1024+4096 eager",
        "attention.extend 1 x 2048+8192 eager",
        "attention.extend 8 x 128+2048 eager",
    ]
    assert {w.geometry.key for w in suite.workloads if isinstance(w, AttentionWorkload)} == {"h32/8 d128 bfloat16"}


def test_the_top_k_suite_on_a_gpu() -> None:
    suite = build_suite("deepseek-v3.2", "cuda", tp=8, operations="topk")
    assert suite.name == "deepseek-v3.2-tp8"
    assert len(suite.workloads) == 11
    assert all(isinstance(w, TopkWorkload) and w.k == 2048 and w.mode == "eager" for w in suite.workloads)
    assert "topk.select 64 x 65536 uneven k2048 eager float32" in keys(suite)
    # Shapes on which the default is known to be wrong, or beaten.
    assert {"topk.select 16 x 262144 eager", "topk.select 1 x 262144 eager", "topk.select 256 x 16384 eager"} <= set(
        shapes(suite)
    )
    assert max(memory_bytes(w) for w in suite.workloads) < 1 << 30


def test_the_embedded_suite_on_a_cpu() -> None:
    suite = build_suite(None, "cpu")
    assert (suite.name, suite.notes) == ("cpu", ())
    assert keys(suite) == [
        "attention.decode 1 x 256 eager h4/1 d128 float32",
        "attention.decode 4 x 512 eager h4/1 d128 float32",
        "attention.prefill 1 x 128 eager h4/1 d128 float32",
        "attention.prefill 2 x 256 eager h4/1 d128 float32",
        "attention.extend 2 x 64+192 eager h4/1 d128 float32",
        "topk.select 4 x 16384 k2048 eager float32",
        "topk.select 1 x 65536 k2048 eager float32",
    ]
    assert keys(build_suite("CPU", "cpu")) == keys(suite)
    assert sum(cost(w).flops for w in suite.workloads) < 1e9


def test_a_real_model_on_a_cpu_has_its_geometry_and_the_small_grid() -> None:
    suite = build_suite("qwen2.5-7b", "cpu", tp=2)
    assert keys(suite)[0] == "attention.decode 1 x 256 eager h14/2 d128 float32"
    assert len(suite.workloads) == 5
    assert "float32 instead of bfloat16" in " ".join(suite.notes)
    assert "bfloat16" in keys(build_suite("qwen2.5-7b", "cpu", dtype="bf16"))[0]


def windowed(suite: Suite) -> list[AttentionWorkload]:
    found = [w for w in suite.workloads if isinstance(w, AttentionWorkload) and w.geometry.window_left is not None]
    assert found
    return found


@pytest.mark.parametrize(("name", "window", "count"), [("gemma-2-9b", 4096, 4), ("gpt-oss-120b", 128, 7)])
def test_windowed_layers_get_contexts_above_their_window(name: str, window: int, count: int) -> None:
    suite = build_suite(name, "cuda")
    found = windowed(suite)
    assert len(found) == count
    assert all(w.geometry.window_left == window - 1 and w.context > window for w in found)
    assert len(suite.workloads) <= 30


def test_a_model_with_windowed_layers_only_gets_the_whole_grid() -> None:
    layer = LayerKind(count=32, num_qo_heads=32, num_kv_heads=8, head_dim=128, window=4096)
    model = Model(name="m", source="test", num_attention_heads=32, layers=(layer,), max_context=32768)
    suite = build_suite(model, "cuda")
    assert len(windowed(suite)) == len(suite.workloads) == 19


def test_no_context_beyond_the_model_s_unless_asked() -> None:
    contexts = [w.context for w in build_suite("gemma-2-9b", "cuda").workloads if isinstance(w, AttentionWorkload)]
    assert max(contexts) == 8192
    asked = build_suite("gemma-2-9b", "cuda", operations="decode", contexts="32768")
    assert {w.context for w in asked.workloads if isinstance(w, AttentionWorkload)} == {32768}


def test_defaults() -> None:
    assert choose_model(None, None, "cuda").name == "llama-3.1-8b"
    assert choose_model(None, None, "cuda", "topk").name == "deepseek-v3.2"
    assert choose_model(None, None, "cuda", "topk,decode").name == "llama-3.1-8b"
    assert choose_model(None, None, "cpu") is CPU_MODEL
    assert build_suite(None, "cuda", operations="topk.select").name == "deepseek-v3.2"
    with pytest.raises(BadField, match="not both"):
        choose_model("qwen3-8b", "config.json", "cuda")
    with pytest.raises(BadField, match="without a GPU"):
        choose_model("cpu", None, "cuda")


def narrowed(**options: Any) -> list[str]:
    return shapes(build_suite("llama-3.1-8b", "cuda", **options))


def test_values_of_the_grid_select() -> None:
    assert narrowed(operations="decode", batches="64") == [
        "attention.decode 64 x 1024 graph",
        "attention.decode 64 x 8192 graph",
    ]
    assert narrowed(operations=["prefill"], contexts=512) == [
        "attention.prefill 1 x 512 eager",
        "attention.prefill 16 x 512 eager",
    ]
    assert narrowed(operations="extend", contexts="4096") == ["attention.extend 16 x 256+3840 eager"]


def test_other_values_replace() -> None:
    assert narrowed(operations="decode", batches="3", contexts="5000") == ["attention.decode 3 x 5000 graph"]
    assert narrowed(batches=[3], contexts=[5000]) == [
        "attention.decode 3 x 5000 graph",
        "attention.prefill 3 x 5000 eager",
        "attention.extend 3 x 512+4488 eager",
    ]
    assert narrowed(operations="decode", contexts="5000") == [
        f"attention.decode {b} x 5000 graph" for b in (1, 8, 64, 128)
    ]
    contexts = (1024, 8192, 32768, 131072, 4096)
    assert narrowed(operations="decode", batches="3") == [f"attention.decode 3 x {c} graph" for c in contexts]


def test_both_given_are_every_pair() -> None:
    assert narrowed(operations="decode", batches="1,8", contexts="1024, 8192") == [
        "attention.decode 1 x 1024 graph",
        "attention.decode 8 x 1024 graph",
        "attention.decode 1 x 8192 graph",
        "attention.decode 8 x 8192 graph",
    ]


def test_new_tokens_of_an_extend() -> None:
    one = {"operations": "extend", "batches": 2}
    assert narrowed(**one, contexts=1000, new=100) == ["attention.extend 2 x 100+900 eager"]
    assert narrowed(**one, contexts=1000) == ["attention.extend 2 x 250+750 eager"]
    assert narrowed(**one, contexts=2) == ["attention.extend 2 x 1+1 eager"]
    assert narrowed(operations="extend", batches=16, new="32,64") == [
        "attention.extend 16 x 32+3840 eager",
        "attention.extend 16 x 64+3840 eager",
    ]
    with pytest.raises(EmptySuite, match="context above new"):
        narrowed(**one, contexts=1000, new=1000)
    with pytest.raises(EmptySuite):
        narrowed(operations="extend", contexts=1)


def test_top_k_narrows_by_rows_and_width() -> None:
    suite = build_suite("deepseek-v3.2", "cuda", batches="64", contexts="65536", operations="topk")
    assert [w.key for w in suite.workloads] == [
        "topk.select 64 x 65536 k2048 eager float32",
        "topk.select 64 x 65536 uneven k2048 eager float32",
    ]
    one = {"operations": "topk", "batches": 3, "contexts": 5000, "scores": "narrow,normal"}
    (only,) = build_suite("deepseek-v3.2", "cuda", **one).workloads
    assert only.key == "topk.select 3 x 5000 k2048 eager float32 scores narrow,normal"


def test_lengths_of_a_batch() -> None:
    one = {"operations": "decode,extend", "batches": 3, "contexts": 1000, "new": 100}
    for spread, text in ((None, ""), ("uneven", ""), ("Even ", " even")):
        suite = build_suite("llama-3.1-8b", "cuda", spread=spread, **one)
        assert [w.key for w in suite.workloads] == [
            f"attention.decode 3 x 1000{text} graph h32/8 d128 bfloat16",
            f"attention.extend 3 x 100+900{text} eager h32/8 d128 bfloat16",
        ]
    assert suite.workloads[0].lengths == ((1, 1, 1), (1000, 1000, 1000))
    assert suite.workloads[1].lengths == ((100, 100, 100), (1000, 1000, 1000))
    # The grid's one shape in both ways is then there once.
    for spread in ("even", "uneven"):
        rows = build_suite("deepseek-v3.2", "cuda", operations="topk", spread=spread).workloads
        assert len(rows) == 10
        assert {w.spread for w in rows} == {spread}
    with pytest.raises(UnknownName, match=r"unknown spread 'evn'; did you mean 'even'\?"):
        build_suite(None, "cpu", spread="evn")


def test_modes() -> None:
    both = build_suite("llama-3.1-8b", "cuda", modes="both", operations="decode,prefill", batches=1)
    assert Counter(w.mode for w in both.workloads) == {"eager": 6, "graph": 6}
    assert all(w.mode == "eager" for w in build_suite("llama-3.1-8b", "cuda", modes="eager").workloads)
    assert build_suite(None, "cpu", modes="eager") == build_suite(None, "cpu")
    for mode in ("graph", "both", "eager,graph"):
        with pytest.raises(BadField, match="mode: a graph is CUDA's"):
            build_suite(None, "cpu", modes=mode)


def test_dtypes() -> None:
    suite = build_suite("llama-3.1-8b", "cuda", operations="decode", dtype="fp16", kv_dtype="fp8_e4m3")
    assert keys(suite)[0].endswith("h32/8 d128 float16 kv float8_e4m3fn q float8_e4m3fn")
    with pytest.raises(UnknownName, match=r"unknown dtype for dtype 'bfloat61'; did you mean 'bfloat16'\?"):
        build_suite(None, "cpu", dtype="bfloat61")


@pytest.mark.parametrize(
    ("device", "options", "wanted"),
    [
        ("cuda", {"kv_dtype": "fp8"}, "float8_e4m3fn"),
        ("cuda", {"kv_dtype": "fp8", "q_dtype": "fp8"}, "float8_e4m3fn"),
        ("cuda", {"kv_dtype": "fp8", "q_dtype": "bf16"}, None),
        ("cuda", {"kv_dtype": "fp8", "dtype": "fp32"}, None),
        ("cuda", {}, None),
        ("cuda", {"q_dtype": "bf16"}, None),
        ("cuda", {"kv_dtype": "fp16"}, None),
        ("cpu", {"kv_dtype": "fp8"}, None),
        ("cpu", {"kv_dtype": "fp8", "q_dtype": "fp8"}, "float8_e4m3fn"),
        ("cpu", {"kv_dtype": "fp8", "q_dtype": "fp32"}, None),
    ],
)
def test_queries_of_an_fp8_cache(device: Any, options: dict[str, str], wanted: str | None) -> None:
    suite = build_suite("llama-3.1-8b", device, operations="decode", **options)
    assert {w.geometry.q_dtype for w in suite.workloads if isinstance(w, AttentionWorkload)} == {wanted}
    by_itself = wanted is not None and "q_dtype" not in options
    assert ("q_dtype=bfloat16 keeps them" in " ".join(suite.notes)) == by_itself


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q_dtype": "fp8"}, "q_dtype: float8_e4m3fn is what dtype is rounded to over kv_dtype float8_e4m3fn"),
        ({"q_dtype": "fp8", "kv_dtype": "fp16"}, "q_dtype"),
        ({"q_dtype": "fp8", "kv_dtype": "fp8", "dtype": "fp8"}, "q_dtype"),
        ({"q_dtype": "fp16", "kv_dtype": "fp8"}, "q_dtype: queries are bfloat16, or float8_e4m3fn; dtype changes"),
    ],
)
def test_queries_that_make_no_sense(options: dict[str, str], message: str) -> None:
    with pytest.raises(BadField, match=message):
        build_suite("llama-3.1-8b", "cuda", **options)


def test_gpt_oss_has_sinks() -> None:
    suite = build_suite("gpt-oss-120b", "cuda")
    assert all(key.endswith(" sinks") for key in keys(suite))


def test_an_operation_that_the_model_lacks_is_noted() -> None:
    suite = build_suite("llama-3.1-8b", "cuda", operations="decode,topk")
    assert suite.notes == ("topk.select: it has no sparse indexer, so no top-k; deepseek-v3.2 has",)
    with pytest.raises(EmptySuite, match="no top-k"):
        build_suite("llama-3.1-8b", "cuda", operations="topk")
    with pytest.raises(EmptySuite, match="attention is multi-head latent"):
        build_suite("deepseek-v3.2", "cuda", operations="decode,prefill")


@pytest.mark.parametrize("option", ["batches", "contexts", "new", "tp"])
@pytest.mark.parametrize(
    "value", ["0", "-1", "x", "1,x", "", "1,,2", "1.5", "--5", "٣", str(MOST + 1), "9" * 9999, 0, -8, 1.5, True]
)
def test_bad_numbers_name_their_field(option: str, value: Any) -> None:
    field = {"batches": "batch", "contexts": "context"}.get(option, option)
    given_value = value if option == "tp" or isinstance(value, str) else [value]
    with pytest.raises(BadField) as error:
        build_suite("llama-3.1-8b", "cuda", **{option: given_value})
    assert str(error.value).startswith(f"{field}: ")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": "decod"}, r"unknown operation 'decod'; did you mean 'decode'"),
        ({"operations": "attention.mla"}, "unknown operation"),
        ({"modes": "greph"}, "unknown mode 'greph'; did you mean 'graph'"),
        ({"scores": "norml"}, "unknown distribution of scores 'norml'; did you mean 'normal'"),
        ({"kv_dtype": "int4"}, "unknown dtype for kv_dtype 'int4'"),
        ({"q_dtype": "int4"}, "unknown dtype for q_dtype 'int4'"),
    ],
)
def test_unknown_names(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        build_suite("llama-3.1-8b", "cuda", **options)


def test_empty_names_and_bad_geometry() -> None:
    with pytest.raises(BadField, match="op: is empty"):
        build_suite(None, "cpu", operations=" , ")
    with pytest.raises(BadGeometry, match="28 query heads don't divide by 8"):
        build_suite("qwen2.5-7b", "cuda", tp=8)
    with pytest.raises(UnknownName):
        build_suite("nope", "cuda")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("name", model_names())
def test_every_suite_is_built_and_has_no_twins(name: str, device: Any) -> None:
    suite = build_suite(name, device)
    assert 2 <= len(suite.workloads) <= 30
    assert len(set(keys(suite))) == len(suite.workloads)
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    assert all(0 < memory_bytes(w) < 40e9 for w in suite.workloads)


numbers = st.lists(st.integers(1, 200_000), min_size=1, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["decode", "prefill", "extend"]), st.none() | numbers, st.none() | numbers, st.none() | numbers)
def test_narrowing_gives_what_was_asked_for(
    operation: str, batches: list[int] | None, contexts: list[int] | None, new: list[int] | None
) -> None:
    wanted = Wanted(*(None if v is None else tuple(v) for v in (batches, contexts, new)))
    found = narrow_attention(f"attention.{operation}", GPU_FULL[f"attention.{operation}"], wanted)
    assert len(set(found)) == len(found)
    for shape in found:
        assert batches is None or shape.batch in batches
        assert contexts is None or shape.context in contexts
        assert operation != "extend" or new is None or shape.new in new
        assert shape.new <= shape.context
        AttentionWorkload.model_validate({
            "operation": f"attention.{operation}",
            "geometry": {"num_qo_heads": 1, "num_kv_heads": 1, "head_dim": 64},
            "batch": shape.batch,
            "new": shape.new,
            "context": shape.context,
            "mode": "eager",
        })  # fmt: skip
    # Each value asked for is there; an extend needs room for a prefix.
    if operation != "extend":
        assert batches is None or {s.batch for s in found} == set(batches)
        assert contexts is None or {s.context for s in found} == set(contexts)
    elif new is None:
        assert batches is None or contexts is not None or {s.batch for s in found} == set(batches)
        assert contexts is None or {s.context for s in found} == {c for c in contexts if c > 1}
