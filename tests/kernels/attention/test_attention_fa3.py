"""FlashAttention-3: calls that bind and compute the right thing, rules, knobs. Kernels run in tests/gpu."""

from __future__ import annotations

from typing import Any

import fa3_emulator
import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, workload

from autotune_cli.kernels.attention.backends import _fa3 as common
from autotune_cli.kernels.attention.problem import cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared
from autotune_cli.results.schema import CandidateResult, Kernel
from autotune_cli.tuning.duplicates import mark_duplicates

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
EXTRAS: list[dict[str, Any]] = [
    {}, {"window_left": 40}, {"softcap": 30.0}, {"sinks": True}, {"sinks": True, "window_left": 40}, FP8_QUERIES,
    {"dtype": "float16"},
]  # fmt: skip


def candidates(shape: AttentionWorkload, device: Device = H100) -> list[tuple[Backend, Candidate]]:
    return [
        (backend, candidate)
        for backend in REGISTRY.of(shape.operation)
        if backend.name.startswith("sgl_kernel.fa3")
        for candidate in backend.candidates(shape, device)
    ]


def knobs(shape: AttentionWorkload, device: Device = H100) -> list[dict[str, Any]]:
    found = [candidate for backend, candidate in candidates(shape, device) if backend.name == "sgl_kernel.fa3"]
    return [dict(candidate.knobs) for candidate in found]


def llama(operation: str, batch: int, new: int, context: int, mode: str = "eager", **extra: Any) -> AttentionWorkload:
    geometry = Geometry(**({"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128} | extra))
    return AttentionWorkload(
        operation=f"attention.{operation}", geometry=geometry, batch=batch, new=new, context=context, mode=mode
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_every_candidate(operation: str, mode: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fa3_emulator.install(monkeypatch)
    shape = workload(operation, mode=mode, **extra).model_copy(update={"served_context": 4096})
    tried = 0
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for backend, candidate in candidates(shape):
            if backend.why_unsupported(shape, H100, candidate) is not None:
                continue
            prepared = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(prepared, Prepared)
            if prepared.plan is not None:
                prepared.plan()
            prepared.run().fill_(float("nan"))
            verdict = problem.check(prepared.run())
            assert verdict.ok, (candidate.key, case, verdict.message)
            tried += 1
    assert tried >= 12


def test_a_capture_has_a_table_as_wide_as_the_longest_context_served(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    backend = REGISTRY.get("sgl_kernel.fa3")
    for mode, wide in (("graph", 4096), ("eager", 87)):
        shape = workload("attention.decode", mode=mode).model_copy(update={"served_context": 4096})
        problem = make_problem(shape, "workload", "cpu", 7)
        prepared = backend.prepare(problem, page_size=1, num_splits=0, scheduler_metadata=True)
        assert isinstance(prepared, Prepared)
        prepared.run()
        call = emulator.calls["flash_attn_with_kvcache"][-1]
        assert call["page_table"].shape[1] == wide
        # SGLang knows the batch's longest key count on the host, whatever the graph was captured for.
        assert emulator.calls["get_scheduler_metadata"][-1]["max_seqlen_k"] == max(shape.lengths.kv)


def test_metadata_of_a_window_is_laid_out_as_the_call_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window over all keys is none for FA3, whose metadata has another layout: both must count the same keys."""
    emulator = fa3_emulator.install(monkeypatch)
    shape = workload("attention.decode", mode="graph", window_left=200).model_copy(update={"served_context": 4096})
    problem = make_problem(shape, "workload", "cpu", 7)
    assert max(shape.lengths.kv) <= 200
    prepared = REGISTRY.get("sgl_kernel.fa3").prepare(problem, page_size=16, num_splits=0, scheduler_metadata=True)
    assert isinstance(prepared, Prepared)
    prepared.run()
    call = emulator.calls["flash_attn_with_kvcache"][-1]
    wide = call["page_table"].shape[1] * call["k_cache"].shape[1]
    assert emulator.calls["get_scheduler_metadata"][-1]["max_seqlen_k"] == wide == 4096


def test_a_plan_makes_the_metadata_anew_where_the_capture_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    problem = make_problem(workload("attention.decode"), "workload", "cpu", 7)
    prepared = REGISTRY.get("sgl_kernel.fa3").prepare(problem, page_size=16, num_splits=2, scheduler_metadata=True)
    assert isinstance(prepared, Prepared)
    assert prepared.plan is not None
    prepared.run()
    held = emulator.calls["flash_attn_with_kvcache"][-1]["scheduler_metadata"]
    made = held.clone()
    held.fill_(9)
    prepared.plan()
    assert torch.equal(held, made)
    assert emulator.calls["get_scheduler_metadata"][-1]["num_splits"] == 2


def test_fp8_queries_are_cast_in_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    problem = make_problem(workload("attention.decode", **FP8_QUERIES), "workload", "cpu", 7)
    prepared = REGISTRY.get("sgl_kernel.fa3").prepare(problem, page_size=1, num_splits=0, scheduler_metadata=False)
    assert isinstance(prepared, Prepared)
    prepared.run()
    call = emulator.calls["flash_attn_with_kvcache"][-1]
    assert call["q"].dtype == torch.float8_e4m3fn
    assert call["out"].dtype == torch.bfloat16
    assert call["k_descale"].shape == call["v_descale"].shape == (3, 2)
    before = prepared.run().clone()
    problem.q.mul_(-1)
    assert not torch.equal(before, prepared.run())


@pytest.mark.parametrize(
    ("capability", "extra", "reason"),
    [
        ((8, 9), {}, "compiled for compute capability 8.0, 8.6 and 9.0, this is 8.9"),
        ((10, 0), {}, "this is 10.0"),
        ((12, 0), {}, "this is 12.0"),
        ((9, 0), {"kv_dtype": "float8_e4m3fn"}, "queries and cache of one dtype, not bfloat16 and float8_e4m3fn"),
        ((8, 0), FP8_QUERIES, "FP8 kernels for compute capability 9.0 only"),
        ((9, 0), {"dtype": "float32"}, "not float32"),
        ((9, 0), {"head_dim": 80}, "head dims 64, 96, 128, 192 and 256, not 80"),
        ((8, 0), {}, None),
        ((8, 6), {"window_left": 3, "softcap": 20.0, "sinks": True}, None),
        ((9, 0), FP8_QUERIES, None),
    ],
)
def test_why_not(capability: tuple[int, int], extra: dict[str, Any], reason: str | None) -> None:
    found = common.why_not(workload("attention.decode", **extra), Device("cuda", "", capability, 132))
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


def test_splits_are_tried_where_the_gpu_has_room_for_them() -> None:
    def splits(batch: int, context: int) -> set[int]:
        return {entry["num_splits"] for entry in knobs(llama("decode", batch, 1, context))}

    assert splits(1, 131072) == {0, 1, 2, 3, 4, 8, 16, 32}
    assert splits(8, 8192) == {0, 1, 2, 3, 4, 8}
    assert splits(64, 8192) == {0, 1}
    # Two blocks of keys have no room for three parts.
    assert splits(1, 256) == {0, 1, 2}
    # None and the library's choice are one call where that is certainly none.
    assert {entry["num_splits"] for entry in knobs(llama("prefill", 4, 4096, 4096))} == {0}
    assert {0, 1} <= {entry["num_splits"] for entry in knobs(llama("prefill", 1, 512, 512))}


def test_where_a_call_certainly_splits_nothing() -> None:
    device = Device("cuda", "", (9, 0), 132)
    assert common.is_whole(llama("extend", 4, 1024, 5120), device)
    assert not common.is_whole(llama("extend", 1, 512, 2048), device)
    # The same tiles on a larger GPU; and what isn't causal may be split for its keys' sake.
    assert not common.is_whole(llama("extend", 4, 1024, 5120), Device("cuda", "", (9, 0), 1000))
    assert not common.is_whole(llama("cross", 64, 512, 1500), device)
    # Many requests of few new tokens fill no more tiles than their rows together: the library splits their keys.
    assert not common.is_whole(llama("extend", 64, 4, 4096), device)
    assert not common.is_whole(llama("extend", 33, 16, 4096, num_qo_heads=16, head_dim=256), device)


def test_page_sizes_and_what_opens_tma() -> None:
    decode, extend = knobs(llama("decode", 8, 1, 8192)), knobs(llama("extend", 4, 1024, 5120))
    assert {entry["page_size"] for entry in decode} == {entry["page_size"] for entry in extend} == {1, 16, 64, 128, 256}
    # Heads can be left apart only where pages aren't gathered key by key.
    assert {entry["page_size"] for entry in extend if entry["pack_gqa"] is False} == {128, 256}
    assert not common.is_tma(llama("decode", 8, 1, 8192), 128)
    assert common.is_tma(llama("extend", 4, 1024, 5120), 128)
    assert not common.is_tma(llama("extend", 4, 1024, 5120), 64)
    assert common.is_tma(llama("extend", 4, 1024, 5120, head_dim=256), 80)


def test_no_two_candidates_are_alike() -> None:
    for operation, new in (("decode", 1), ("prefill", 8192), ("extend", 512)):
        keys = [candidate.key for _, candidate in candidates(llama(operation, 1, new, 8192))]
        assert len(set(keys)) == len(keys)


def test_one_launch_under_two_settings_of_packing_is_one_candidate_and_splits_are_not() -> None:
    """A library's choice of packing that is the same as a fixed one fires the same kernel with the same grid."""
    launch_knobs = {"sgl_kernel.fa3": REGISTRY.get("sgl_kernel.fa3").launch_knobs}
    kernel = Kernel(name="flash::FlashAttnFwdSm90<...>", grid=(132, 1, 1), block=(384, 1, 1), us=300.0)
    knobs = [{"page_size": 128, "num_splits": n, "pack_gqa": pack} for n, pack in ((0, None), (0, True), (2, True))]
    results = {
        str(index): CandidateResult(
            key=str(index),
            backend="sgl_kernel.fa3",
            knobs=each,
            label="",
            status="ok",
            kernels=(kernel,),
            rough_us=300.0,
        )
        for index, each in enumerate(knobs)
    }
    marked = mark_duplicates(results, "eager", launch_knobs)
    assert [each.status for each in marked.values()] == ["ok", "duplicate", "ok"]
