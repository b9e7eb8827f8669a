"""SGLang's table: every rule on who runs which backend by default, by model, GPU, options and version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune_cli.kernels.engines import Situation, load_engine, parse_baseline, resolve

OLD = ("sm80", "sm86", "sm89", "sm120")
DECODE, EXTEND, PREFILL = "attention.decode", "attention.extend", "attention.prefill"
MLA_DECODE, MLA_EXTEND = "attention.mla_decode", "attention.mla_extend"


def backend(gpu: str, operation: str = DECODE, *, name: str = "sglang", version: str = "0.5.23", **changes: Any) -> str:
    """The engine's word for what takes the situation; ``none`` if no row fits."""
    cuda = "13.0" if gpu.startswith("sm") else ""
    situation = Situation(operation, gpu, cuda=changes.pop("cuda", cuda), **changes)
    found = resolve(replace(parse_baseline(name), version=version), situation)
    return found.backend or "none"


@pytest.mark.parametrize("version", ["0.5.10.post1", "0.5.16", "0.5.20", "0.5.23"])
def test_mha_without_speculation(version: str) -> None:
    for operation in (DECODE, PREFILL, EXTEND):
        found = {gpu: backend(gpu, operation, version=version) for gpu in ("sm90", "sm100", "amd", *OLD)}
        assert found == {"sm90": "fa3", "sm100": "trtllm_mha", "amd": "aiter"} | dict.fromkeys(OLD, "flashinfer")


def test_an_old_cuda_has_no_fa3() -> None:
    assert backend("sm90", cuda="12.2") == "flashinfer"
    assert backend("sm90", cuda="12.3") == "fa3"
    assert backend("sm90", cuda="12.2", attention="mla") == "triton"


@pytest.mark.parametrize(
    ("options", "hopper", "blackwell"),
    [
        ("--speculative-eagle-topk 1", "fa3", "trtllm_mha"),
        ("--speculative-eagle-topk 1 --page-size 16", "flashinfer", "flashinfer"),
        ("--speculative-eagle-topk 4", "flashinfer", "flashinfer"),
        ("--page-size 64", "fa3", "trtllm_mha"),
    ],
)
def test_mha_with_speculation(options: str, hopper: str, blackwell: str) -> None:
    name = f"sglang {options}"
    assert (backend("sm90", name=name), backend("sm100", name=name)) == (hopper, blackwell)
    assert {backend(gpu, name=name) for gpu in OLD} == {"flashinfer"}
    assert backend("amd", name=name) == "aiter"


def test_sinks_make_it_triton_from_0_5_16_on() -> None:
    tree = "sglang --speculative-eagle-topk 4"
    assert backend("sm89", sinks=True, version="0.5.16") == backend("sm90", sinks=True, name=tree) == "triton"
    assert backend("sm89", sinks=True, version="0.5.10.post1") == "flashinfer"
    assert backend("sm90", sinks=True) == "fa3"


def test_keys_and_values_of_two_widths_take_fa4_on_blackwell_from_0_5_20_on() -> None:
    assert backend("sm100", asymmetric=True) == "fa4"
    assert backend("sm100", asymmetric=True, version="0.5.16") == "trtllm_mha"


def test_mla() -> None:
    assert backend("sm90", MLA_DECODE, attention="mla") == "fa3"
    assert backend("sm100", MLA_DECODE, attention="mla") == "flashinfer"
    assert backend("sm100", MLA_DECODE, attention="mla", model_type="deepseek_v3") == "trtllm_mla"
    assert {backend(gpu, MLA_DECODE, attention="mla") for gpu in OLD} == {"triton"}
    assert [backend("amd", MLA_DECODE, attention="mla", kv_heads=heads) for heads in (16, 128, 32)] == [
        "aiter", "aiter", "triton",
    ]  # fmt: skip


def test_deepseek_sparse_attention() -> None:
    def dsa(gpu: str, operation: str = MLA_DECODE, **changes: Any) -> str:
        return backend(gpu, operation, attention="dsa", model_type="deepseek_v32", **changes)

    assert (dsa("sm90"), dsa("sm90", MLA_EXTEND)) == ("fa3", "flashmla_sparse")
    assert {dsa("sm90", op, kv_dtype="float8_e4m3fn") for op in (MLA_DECODE, MLA_EXTEND)} == {"flashmla_kv"}
    assert (dsa("sm100"), dsa("sm120"), dsa("amd")) == ("trtllm", "flashinfer_sparse_mla", "triton")
    assert {backend(gpu, MLA_DECODE, attention="dsv4") for gpu in ("sm90", "sm100")} == {"dsv4"}


NAMED = ("gpt_oss", "llama4", "exaone4", "olmo2", "step3p5", "minimax_m3", "iquest_q1")


@pytest.mark.parametrize("model", NAMED)
def test_models_that_name_fa3_on_hopper(model: str) -> None:
    assert backend("sm90", model_type=model) == "fa3"
    assert backend("sm90", model_type=model, name="sglang --speculative-eagle-topk 4") == "fa3"


def test_the_same_models_elsewhere() -> None:
    for model in ("gpt_oss", "llama4"):
        assert backend("sm100", model_type=model) == "trtllm_mha"
        assert {backend(gpu, model_type=model) for gpu in OLD} == {"triton"}
        assert backend("amd", model_type=model) == "aiter"
    for model in ("exaone4", "olmo2"):
        # Their overrides ask for fa3 from compute capability 8.0 on.
        assert backend("sm100", model_type=model) == "trtllm_mha"
        assert {backend(gpu, model_type=model) for gpu in OLD} == {"fa3"}
        assert backend("amd", model_type=model) == "triton"
    assert backend("sm100", model_type="minimax_m3") == backend("sm100", model_type="step3p5") == "fa4"


def test_models_that_want_triton() -> None:
    for gpu in ("sm90", *OLD):
        assert backend(gpu, model_type="gemma4") == backend(gpu, model_type="embedding_gemma2") == "triton"
    assert backend("sm100", model_type="gemma4") == "trtllm_mha"


def test_overrides_that_hold_on_blackwell_only() -> None:
    """falcon_h1.py, minicpmv.py, lfm2.py and granitemoehybrid.py ask for sm100; on Hopper the general rule holds."""
    for model in ("falcon_h1", "minicpmv4_6"):
        assert (backend("sm100", model_type=model), backend("sm90", model_type=model)) == ("triton", "fa3")
    for model in ("lfm2", "granitemoehybrid"):
        assert (backend("sm100", model_type=model), backend("sm90", model_type=model)) == ("flashinfer", "fa3")


def test_whisper_wants_flashinfer_everywhere() -> None:
    assert {backend(gpu, model_type="whisper") for gpu in ("sm90", "sm100", *OLD)} == {"flashinfer"}


def test_deterministic_inference() -> None:
    name = "sglang --enable-deterministic-inference"
    assert {backend(gpu, name=name) for gpu in ("sm90", "sm80", "sm86", "sm89")} == {"fa3"}
    assert {backend(gpu, name=name) for gpu in ("sm100", "sm120")} == {"flashinfer"}
    assert backend("sm100", MLA_DECODE, name=name, attention="mla") == "triton"


def test_an_e5m2_cache_turns_fa3_into_triton() -> None:
    assert (
        backend("sm90", kv_dtype="float8_e5m2")
        == backend("sm90", kv_dtype="float8_e5m2", model_type="gpt_oss")
        == "triton"
    )
    assert backend("sm90", kv_dtype="float8_e4m3fn") == "fa3"


def test_an_option_names_the_backend_past_the_table() -> None:
    assert backend("sm90", name="sglang --attention-backend triton", model_type="gpt_oss") == "triton"


def test_every_row_can_be_reached_and_has_a_source() -> None:
    """A row behind one that always holds would never count. Each must be the first that fits something."""
    engine = load_engine("sglang")
    reached = set()
    gpus = ("sm80", "sm86", "sm89", "sm90", "sm100", "sm120", "amd", "cpu")
    models = ["", *sorted({model for row in engine.backend for model in row.models})]
    options: list[dict[str, str]] = [{}, {"enable-deterministic-inference": "true"}]
    options += [{"speculative-eagle-topk": topk} for topk in ("1", "4")]
    for attention in ("mha", "mla", "dsa", "dsv4"):
        for operation in (DECODE, MLA_DECODE, MLA_EXTEND, "topk.select"):
            for gpu in gpus:
                for model in models:
                    for given in options:
                        for extra in ({}, {"kv_dtype": "float8_e5m2"}, {"kv_dtype": "float8_e4m3fn"}, {"sinks": True},
                                      {"asymmetric": True}, {"kv_heads": 16}):  # fmt: skip
                            situation = Situation(
                                operation, gpu, attention=attention, model_type=model, options=given,
                                **({"cuda": "13.0"} | extra),
                            )  # type: ignore[arg-type]  # fmt: skip
                            for number, row in enumerate(engine.backend):
                                if row.hold(situation, "0.5.23", engine.defaults):
                                    reached.add(number)
                                    break
    assert [
        engine.backend[n].name + str(engine.backend[n].models) for n in range(len(engine.backend)) if n not in reached
    ] == []
    assert all(row.source for row in (*engine.backend, *engine.run))
    assert all(bool(row.candidate) != bool(row.why_none) for row in engine.run)
