"""What engines run for latent attention: which of its two forms, by which candidate, and what is named as missing."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.kernels.engines import load_engine, parse_baseline
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device
from autotune_cli.tuning.plan import plan

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108, cuda="13.0")
B200 = Device("cuda", "NVIDIA B200", (10, 0), 148, cuda="13.0")
CPU = Device("cpu", "a processor")
LAYER = {"num_heads": 16, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
# New tokens and prefix of each request; 2 requests.
SHAPES = {"decode": (1, 4095), "prefill": (512, 0), "extend": (512, 3000), "long": (512, 4096), "longest": (512, 65536)}
PLAIN, ABSORBED = "attention.mla_prefill", "attention.mla_extend"


def workload(operation: str, shape: str, **changes: Any) -> MlaWorkload:
    new, prefix = SHAPES[shape]
    fields: dict[str, Any] = {"operation": operation, "batch": 2, "new": new, "context": new + prefix, "mode": "eager"}
    latent = LAYER | changes.pop("latent", {})
    return MlaWorkload.model_validate(fields | {"latent": latent, "spread": "even"} | changes)


def found(name: str, operation: str, shape: str, device: Device = H100, **changes: Any) -> str:
    """The baseline's candidate, or why there is none."""
    planned = plan(workload(operation, shape, **changes), device, [parse_baseline(name)], "deepseek_v3")
    (baseline,) = planned.baselines
    if baseline.candidate is None:
        assert baseline.missing
        return baseline.missing
    # One that is planned, and not only a text.
    (entry,) = [entry for entry in planned.candidates if entry.candidate.key == baseline.candidate]
    assert entry.default
    assert entry.status in (None, "unavailable"), entry.reason
    return baseline.candidate


FI, FLASHMLA = "sglang --attention-backend flashinfer", "sglang --attention-backend flashmla"
FIXED = "sglang --enable-deterministic-inference"


@pytest.mark.parametrize(
    ("name", "operation", "shape", "wanted"),
    [
        ("sglang", "attention.mla_decode", "decode",
         "sgl_kernel.fa3_mla(page_size=1,num_splits=0,scheduler_metadata=false)"),
        ("sglang --page-size 64", "attention.mla_decode", "decode",
         "sgl_kernel.fa3_mla(page_size=64,num_splits=0,scheduler_metadata=false)"),
        ("sglang", PLAIN, "prefill", "sgl_kernel.fa3_mla_ragged"),
        ("sglang", ABSORBED, "extend", "sgl_kernel.fa3_mla(page_size=1,num_splits=0)"),
        ("sglang", PLAIN, "extend", "below 8192 cached tokens in a batch: attention.mla_extend"),
        ("sglang", ABSORBED, "long", "from 8192 cached tokens in a batch on: attention.mla_prefill"),
        ("sglang", PLAIN, "long", "sgl_kernel.fa3_mla_ragged"),
        ("sglang", PLAIN, "longest", "sgl_kernel.fa3_mla_ragged_merge"),
        (FIXED, "attention.mla_decode", "decode",
         "sgl_kernel.fa3_mla(page_size=1,num_splits=1,scheduler_metadata=false)"),
        (FIXED, ABSORBED, "long", "sgl_kernel.fa3_mla(page_size=1,num_splits=1)"),
        (FIXED, PLAIN, "prefill", "deterministic inference is absorbed always"),
        (FI, "attention.mla_decode", "decode", "flashinfer.mla(path=fa3,page_size=1)"),
        (f"{FI} --page-size 64", "attention.mla_decode", "decode", "flashinfer.mla(path=fa3,page_size=1)"),
        (FI, ABSORBED, "extend", "flashinfer.mla(path=fa3,page_size=1)"),
        (FI, ABSORBED, "long", "from 8192 cached tokens in a batch on"),
        (FI, PLAIN, "prefill", "flashinfer.mla_ragged(path=fa3)"),
        (FI, PLAIN, "long", "flashinfer.mla_ragged(path=fa3)"),
        (FI, PLAIN, "longest", "in chunks and merges"),
        (f"{FI} --enable-deterministic-inference", PLAIN, "prefill", "and refuses others"),
        (FLASHMLA, "attention.mla_decode", "decode", "sgl_kernel.flashmla"),
        (FLASHMLA, ABSORBED, "extend", "flashinfer.mla(path=fa3,page_size=1)"),
        (FLASHMLA, PLAIN, "prefill", "flashinfer.mla_ragged(path=fa3)"),
        ("sglang --attention-backend cutlass_mla", PLAIN, "prefill", "decodes only"),
        ("sglang --attention-backend triton", "attention.mla_decode", "decode", "kernels for it are no candidate yet"),
        ("flashinfer", "attention.mla_decode", "decode", "flashinfer.mla(path=fa3,page_size=16)"),
        ("flashinfer --page-size 64", ABSORBED, "long", "flashinfer.mla(path=fa3,page_size=64)"),
        ("flashinfer", PLAIN, "prefill", "flashinfer.mla_ragged(path=fa3)"),
        ("vllm", "attention.mla_decode", "decode", "ship inside the vllm package"),
    ],
)  # fmt: skip
def test_what_runs_on_hopper(name: str, operation: str, shape: str, wanted: str) -> None:
    text = found(name, operation, shape)
    # A candidate's whole key, or part of a sentence.
    assert text == wanted or (" " in wanted and wanted in text)


def test_elsewhere() -> None:
    assert found(FI, "attention.mla_decode", "decode", A100) == "flashinfer.mla(path=fa2,page_size=1)"
    assert found(FI, PLAIN, "prefill", A100) == "flashinfer.mla_ragged(path=fa2)"
    assert found("flashinfer", PLAIN, "prefill", A100) == "flashinfer.mla_ragged(path=fa2)"
    assert found("flashinfer", ABSORBED, "long", A100) == "flashinfer.mla(path=fa2,page_size=16)"
    assert "CUTLASS prefill for Blackwell" in found(FI, PLAIN, "prefill", B200)
    cutlass = found("sglang --attention-backend cutlass_mla", "attention.mla_decode", "decode", B200)
    assert cutlass == "sgl_kernel.cutlass_mla(num_kv_splits=1)"
    on_hopper = found_missing("sglang --attention-backend cutlass_mla", H100)
    assert on_hopper.startswith("unsupported: CUTLASS's latent decode is for compute capability 10.0 (Blackwell)")
    assert found("sglang", PLAIN, "prefill", CPU, latent={"dtype": "float32"}) == "torch.mla_prefill"


def found_missing(name: str, device: Device) -> str:
    (baseline,) = plan(workload("attention.mla_decode", "decode"), device, [parse_baseline(name)]).baselines
    return str(baseline.missing)


@pytest.mark.parametrize("name", ["sglang", FI])
def test_an_fp8_cache_is_widened_first(name: str) -> None:
    kv_dtype = "float8_e4m3fn"
    for operation, shape in (("attention.mla_decode", "decode"), (ABSORBED, "extend")):
        assert "widens the whole cache" in found(name, operation, shape, latent={"kv_dtype": kv_dtype})
    assert "rounds queries" in found(FLASHMLA, "attention.mla_decode", "decode", latent={"kv_dtype": kv_dtype})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("sglang", "sgl_kernel.fa3_mla(page_size=1,num_splits=0)"), (FI, "flashinfer.mla(path=fa3,page_size=1)")],
)
def test_captured_prefills_are_absorbed(name: str, wanted: str) -> None:
    assert found(name, ABSORBED, "long", mode="graph") == found(name, ABSORBED, "extend", mode="graph") == wanted
    assert "captured prefill graphs are absorbed" in found(name, PLAIN, "prefill", mode="graph")


def test_sparse_attention_reads_selected_keys_only() -> None:
    for operation, shape in (("attention.mla_decode", "decode"), (ABSORBED, "extend"), (PLAIN, "prefill")):
        planned = plan(workload(operation, shape, index_topk=2048), H100, [parse_baseline("sglang")], "deepseek_v32")
        assert planned.baselines[0].candidate is None
    assert "the keys that the indexer selects" in found("sglang", "attention.mla_decode", "decode", index_topk=2048)


@pytest.mark.parametrize("engine", ["sglang", "flashinfer", "vllm"])
def test_several_backends_may_launch_the_same(engine: str) -> None:
    table = load_engine(engine)
    for row in table.run:
        names = (row.backend,) if isinstance(row.backend, str) else row.backend
        assert names
        assert {backend for backend, rows in table.run_of.items() if row in rows} == set(names)
