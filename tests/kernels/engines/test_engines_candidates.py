"""Which candidate stands for what a backend of an engine launches, and what is named as missing."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.engines import (
    engine_names,
    load_engine,
    parse_baseline,
    resolve,
    situation_of,
    standard_baselines,
)
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, parse_key
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.baselines import missing_everywhere
from autotune_cli.tuning.plan import plan

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108, cuda="13.0")
CPU = Device("cpu", "a processor")
SHAPES: dict[str, dict[str, int]] = {
    "decode": {"batch": 8, "context": 4096},
    "prefill": {"batch": 2, "new": 512, "context": 512},
    "extend": {"batch": 2, "new": 512, "context": 2048},
}


def workload(operation: str, mode: str = "eager", **geometry: Any) -> AttentionWorkload:
    layer = Geometry(**({"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128} | geometry))
    return AttentionWorkload(operation=f"attention.{operation}", geometry=layer, mode=mode, **SHAPES[operation])


def candidate(name: str, operation: str, device: Device = H100, variables: Any = None, **geometry: Any) -> str | None:
    found = resolve(parse_baseline(name, variables), situation_of(workload(operation, **geometry), device))
    return found.candidate


@pytest.mark.parametrize(
    ("name", "operation", "wanted"),
    [
        ("sglang", "decode", "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=true)"),
        ("sglang", "prefill", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
        ("sglang", "extend", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
        ("sglang --page-size 64", "extend", "sgl_kernel.fa3(page_size=64,num_splits=0,pack_gqa=none)"),
        ("sglang --enable-deterministic-inference", "decode",
         "sgl_kernel.fa3(page_size=1,num_splits=1,scheduler_metadata=true)"),
        ("sglang --attention-backend flashinfer", "decode",
         "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)"),
        ("sglang --attention-backend flashinfer --page-size 64", "decode",
         "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)"),
        ("sglang --attention-backend flashinfer --enable-deterministic-inference", "decode",
         "flashinfer.decode(path=tensor_cores,page_size=1,split=2048,pdl=none)"),
        ("sglang --attention-backend flashinfer --enable-deterministic-inference", "extend",
         "flashinfer.paged(path=fa2,page_size=1,split=4096)"),
        ("sglang --attention-backend flashinfer", "prefill", "flashinfer.ragged(path=fa3)"),
        ("sglang --attention-backend flashinfer", "extend",
         "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)"),
        ("sglang --attention-backend triton", "decode",
         "triton.decode(page_size=1,block=32,warps=4,stages=2,splits=sglang)"),
        ("sglang --attention-backend triton --page-size 64", "decode",
         "triton.decode(page_size=64,block=32,warps=4,stages=2,splits=sglang)"),
        ("sglang --attention-backend triton", "prefill",
         "triton.extend(page_size=1,rows=128,block=64,warps=8,stages=1)"),
        ("sglang --attention-backend triton --page-size 16", "extend",
         "triton.extend(page_size=16,rows=128,block=64,warps=8,stages=1)"),
        ("flashinfer", "decode", "flashinfer.decode(path=cuda_cores,page_size=16,split=none,pdl=none)"),
        ("flashinfer --use-tensor-cores", "decode",
         "flashinfer.decode(path=tensor_cores,page_size=16,split=none,pdl=none)"),
        ("flashinfer --page-size 64", "extend", "flashinfer.paged(path=fa3,page_size=64)"),
    ],
)  # fmt: skip
def test_what_runs_on_hopper(name: str, operation: str, wanted: str) -> None:
    assert candidate(name, operation) == wanted
    # It is one that is planned, not only a text.
    entries = {
        entry.candidate.key: entry for entry in plan(workload(operation), H100, [parse_baseline(name)]).candidates
    }
    assert entries[wanted].default
    assert entries[wanted].status in (None, "unavailable")
    # What isn't the engine's own kernel says so.
    (baseline,) = plan(workload(operation), H100, [parse_baseline(name)]).baselines
    assert bool(baseline.stand_in) == wanted.startswith("triton.")


FI = "sglang --attention-backend flashinfer"


@pytest.mark.parametrize(
    ("operation", "wanted", "reason"),
    [
        (
            "decode",
            "flashinfer.decode(path=tensor_cores,page_size=1,split=false,pdl=none)",
            "without splits the padded grid of a captured graph reads entries that nobody wrote (FlashInfer #5176)",
        ),
        ("extend", "flashinfer.paged(path=fa2,page_size=1)", None),
    ],
)
def test_a_deterministic_server_fixes_no_split_in_a_graph(operation: str, wanted: str, reason: str | None) -> None:
    """It turns a decode step's splits off there, which can't be run safely, and plans an extend as usual."""
    name = parse_baseline(f"{FI} --enable-deterministic-inference")
    planned = plan(workload(operation, mode="graph"), H100, [name])
    (baseline,) = planned.baselines
    entry = next(entry for entry in planned.candidates if entry.candidate.key == wanted)
    assert entry.default
    assert baseline.missing == (f"unsupported: {reason}" if reason else baseline.missing)
    assert (entry.status == "unsupported") == (reason is not None)
    assert reason in (None, entry.reason)


def test_sglangs_flashinfer_backend_by_layer_and_variable() -> None:
    assert (
        candidate(FI, "decode", num_qo_heads=8) == "flashinfer.decode(path=cuda_cores,page_size=1,split=none,pdl=none)"
    )
    fp8 = {"num_qo_heads": 8, "kv_dtype": "float8_e4m3fn"}
    tensor_cores = "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)"
    assert candidate(FI, "decode", **fp8) == tensor_cores
    assert (
        candidate(FI, "decode", num_qo_heads=8, variables={"SGLANG_FLASHINFER_USE_TENSOR_CORE": "TRUE"}) == tensor_cores
    )
    # It says no as well, also where the text is none that SGLang takes for one elsewhere.
    for text in ("false", "0", "1", ""):
        told = {"SGLANG_FLASHINFER_USE_TENSOR_CORE": text}
        assert candidate(FI, "decode", **fp8, variables=told) != tensor_cores
        assert candidate(FI, "decode", num_qo_heads=32, variables=told) != tensor_cores
    pair = "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)"
    assert candidate(FI, "extend", window_left=127) == pair
    assert candidate(FI, "extend", A100) == "flashinfer.ragged_paged_merge(ragged=fa2,paged=fa2,page_size=1)"
    for operation in ("prefill", "extend"):
        for yes in ("1", "true", "YES", "y"):
            paged = candidate(FI, operation, variables={"SGLANG_FLASHINFER_USE_PAGED": yes})
            assert paged == "flashinfer.paged(path=fa2,page_size=1)"
        assert candidate(FI, operation, variables={"SGLANG_FLASHINFER_USE_PAGED": "maybe"}) != paged


def test_sglangs_triton_decode_takes_more_keys_where_heads_share_nothing() -> None:
    name = "sglang --attention-backend triton"
    assert "block=32," in str(candidate(name, "decode", num_kv_heads=16))
    assert "block=64," in str(candidate(name, "decode", num_kv_heads=32))
    (baseline,) = plan(workload("decode", num_kv_heads=32), H100, [parse_baseline(name)]).baselines
    assert baseline.stand_in
    assert baseline.missing is None or baseline.missing.startswith("unavailable: triton is not installed; get it: ")


def test_a_server_with_two_attention_backends_and_a_topk() -> None:
    """Each option concerns some of the operations; the name is a baseline of all of them."""
    name = (
        "sglang --prefill-attention-backend flashinfer --decode-attention-backend fa3 --page-size 64 "
        "--dsa-topk-backend torch"
    )
    assert parse_baseline(name).name == name
    assert candidate(name, "decode") == "sgl_kernel.fa3(page_size=64,num_splits=0,scheduler_metadata=true)"
    assert candidate(name, "prefill") == "flashinfer.ragged(path=fa3)"
    selection = TopkWorkload(operation="topk.select", rows=16, width=65536, k=2048, mode="eager")
    for of, wanted in (
        (workload("decode"), "sgl_kernel.fa3"),
        (workload("extend"), "flashinfer."),
        (selection, "torch."),
    ):
        (baseline,) = plan(of, H100, [parse_baseline(name)]).baselines
        assert str(baseline.candidate).startswith(wanted)
    # What none of its options concerns has no such baseline.
    assert plan(selection, H100, [parse_baseline("sglang --decode-attention-backend fa3")]).baselines == ()
    assert plan(workload("extend"), H100, [parse_baseline("sglang --decode-attention-backend fa3")]).baselines == ()


def test_vllm_over_flashinfer() -> None:
    name = "vllm --attention-backend FLASHINFER --block-size 64"
    assert candidate(name, "decode") == "flashinfer.decode(path=tensor_cores,page_size=64,split=none,pdl=none)"
    assert candidate(name, "extend") == "flashinfer.paged(path=fa3,page_size=64)"
    assert candidate(name, "extend", A100) == "flashinfer.paged(path=fa2,page_size=64)"
    assert candidate(name, "decode", sinks=True) is None
    assert candidate(name, "decode", kv_dtype="float8_e4m3fn") is None


def test_the_variable_changes_nothing_on_the_default_path() -> None:
    variables = {"SGLANG_FLASHINFER_USE_PAGED": "1"}
    assert candidate("sglang", "extend", variables=variables) == candidate("sglang", "extend")


def test_windowed_layers_make_their_metadata_in_the_call() -> None:
    wanted = "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=false)"
    assert candidate("sglang", "decode", window_left=127) == wanted


def test_a_missing_baseline_is_named_and_nothing_takes_its_place() -> None:
    planned = plan(workload("decode"), H100, standard_baselines("vllm", "cuda"))
    vllm, *others = planned.baselines
    assert (vllm.name, vllm.candidate, vllm.backend) == ("vllm", None, "FLASH_ATTN")
    assert vllm.missing is not None
    assert "no candidate yet" in vllm.missing
    assert [entry.candidate.key for entry in planned.candidates if entry.default] == []
    assert [other.name for other in others] == ["sglang", FI]


def test_an_unsupported_default_is_missing_with_its_reason() -> None:
    """bfloat16 queries over an FP8 cache: SGLang's fa3 would cast them, which is another workload."""
    planned = plan(workload("decode", kv_dtype="float8_e4m3fn"), H100, standard_baselines("sglang", "cuda"))
    first = planned.baselines[0]
    assert first.missing is not None
    assert first.missing.startswith("unsupported: FlashAttention-3 takes queries and cache of one dtype")


def test_baselines_come_first_and_the_default_before_all() -> None:
    baselines = standard_baselines("sglang", "cuda")
    planned = plan(workload("extend"), H100, baselines)
    keys = [entry.candidate.key for entry in planned.candidates]
    assert keys[:2] == [baseline.candidate for baseline in planned.baselines[:2]]
    assert [entry.default for entry in planned.candidates[:3]] == [True, False, False]


def test_a_page_size_that_no_backend_lists_is_planned_for_its_baseline() -> None:
    planned = plan(workload("extend"), H100, [parse_baseline("sglang --page-size 32")])
    assert planned.candidates[0].candidate.key == "sgl_kernel.fa3(page_size=32,num_splits=0,pack_gqa=none)"


def test_options_that_do_not_concern_an_operation_are_no_baseline_of_it() -> None:
    topk = TopkWorkload(operation="topk.select", rows=4, width=65536, k=2048, mode="eager")
    names = [baseline.name for baseline in plan(topk, H100, standard_baselines("sglang", "cuda")).baselines]
    assert names == ["sglang", "vllm"]


def test_topk_has_sgl_kernels_selection_for_its_k_only() -> None:
    def first(k: int, device: Device) -> tuple[str | None, str | None]:
        topk = TopkWorkload(operation="topk.select", rows=4, width=65536, k=k, mode="eager")
        found = plan(topk, device, [parse_baseline("sglang")]).baselines[0]
        return found.candidate, found.missing

    assert first(2048, H100)[0] == "sgl_kernel.fast_topk_v2"
    assert first(512, H100) == (
        None, "sgl_kernel's fast_topk_v2 is compiled for k = 2048; SGLang's kernels for other k are no candidate yet",
    )  # fmt: skip
    assert first(512, CPU) == ("torch.topk(sorted=true)", None)


def test_a_cpu_has_torchs_attention_and_names_what_that_lacks() -> None:
    plain = plan(workload("decode", dtype="float32"), CPU, standard_baselines("sglang", "cpu")).baselines
    assert [(baseline.name, baseline.candidate) for baseline in plain] == [("sglang", "torch.sdpa(kernel=flash)")]
    capped = plan(workload("decode", dtype="float32", softcap=30.0), CPU, standard_baselines("sglang", "cpu")).baselines
    assert capped[0].missing == "scaled_dot_product_attention has no softcap"


def test_who_serves_with_a_kernel_of_their_own_names_its_candidate() -> None:
    key = "flashinfer.paged(path=fa3,page_size=16)"
    planned = plan(workload("extend"), H100, [parse_baseline("sglang"), parse_baseline(key)])
    assert [baseline.candidate for baseline in planned.baselines][1] == key
    assert planned.candidates[1].candidate.key == key
    unknown = plan(workload("extend"), H100, [parse_baseline("mine.kernel(block=4)")]).baselines[0]
    assert unknown.missing == "mine.kernel(block=4) is no candidate for attention.extend here"


def test_a_baseline_that_no_workload_can_have_is_told_before_the_run() -> None:
    wanted = [parse_baseline("flashinfer.ragged(path=fa3)"), parse_baseline("mine.kernel")]
    planned = [plan(workload(operation), H100, wanted) for operation in ("prefill", "decode", "extend")]
    told = "mine.kernel can't be measured: " + "; ".join(
        f"mine.kernel is no candidate for attention.{operation} here" for operation in ("prefill", "decode", "extend")
    )
    names = [baseline.name for baseline in wanted]
    # The other one is measured in prefill, where its library is installed.
    is_there = planned[0].baselines[0].missing is None
    assert [line for line in missing_everywhere(planned, names) if is_there or line.startswith("mine")] == [told]
    assert not list(missing_everywhere(planned, names[2:]))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", BadField, "names no engine"),
        ("sglan", UnknownName, "did you mean 'sglang'"),
        ("sglang --attention-backnd fa3", UnknownName, "did you mean '--attention-backend'"),
        ("sglang --attention-backend fa5", UnknownName, "did you mean 'fa4'"),
        ("sglang --attention-backend", BadField, "needs a value"),
        ("sglang --page-size zero", BadField, "no whole number above zero"),
        ("sglang --page-size 0", BadField, "no whole number above zero"),
        ("sglang --enable-deterministic-inference=maybe", BadField, "takes no value"),
        ("sglang 'unclosed", BadField, "No closing quotation"),
        ("sglang flashinfer", UnknownName, "option of sglang"),
    ],
)
def test_names_that_are_none(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_baseline(text)


def test_a_name_is_what_it_was_parsed_from_without_what_goes_without_saying() -> None:
    assert parse_baseline("sglang   --page-size=64 --attention-backend=fa3").name == (
        "sglang --attention-backend fa3 --page-size 64"
    )
    assert parse_baseline("sglang --page-size 1").name == "sglang"
    for engine in engine_names():
        for names in load_engine(engine).beside.values():
            assert all(parse_baseline(name).name == name for name in names)


def test_every_candidate_that_a_table_names_is_registered() -> None:
    for engine in engine_names():
        for row in load_engine(engine).run:
            if row.candidate:
                name, _ = parse_key(row.candidate)
                assert name in {backend.name for backend in REGISTRY.all()}, row.candidate


@pytest.mark.parametrize("knobs", [(), (("a", 1), ("b", True), ("c", None), ("d", 0.5), ("e", "text"))])
def test_a_key_is_read_back(knobs: Any) -> None:
    written = Candidate("library.kernel", knobs)
    assert Candidate(*parse_key(written.key)) == written
