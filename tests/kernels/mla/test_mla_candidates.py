"""Every candidate of latent attention against an emulation of its library: calls that bind, metadata that is right.

The kernels themselves run in tests/gpu.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any

import mla_emulator
import pytest
import torch
from mla_cases import shortened, workload

from autotune_cli.kernels.mla.problem import cases, make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared

# Importing flashinfer makes folders and a log, by default in $HOME.
os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
B200 = Device("cuda", "NVIDIA B200", (10, 0), 148)
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108)
CPU = Device("cpu", "a CPU")
NAMES = {
    "decode": ["flashinfer.mla", "sgl_kernel.fa3_mla", "sgl_kernel.flashmla", "sgl_kernel.cutlass_mla"],
    "extend": ["flashinfer.mla", "sgl_kernel.fa3_mla"],
}
PLAIN = {"flashinfer.mla_ragged(path=fa2)", "flashinfer.mla_ragged(path=fa3)", "sgl_kernel.fa3_mla_ragged"}

LAUNCHES = ("flash_attn_with_kvcache", "flash_mla_with_kvcache", "cutlass_mla_decode")


def candidates(shape: MlaWorkload, device: Device, name: str = "") -> list[tuple[Backend, Candidate]]:
    """Those that apply, torch's apart."""
    return [
        (backend, candidate)
        for backend in REGISTRY.of(shape.operation)
        if not backend.name.startswith("torch.") and name in ("", backend.name)
        for candidate in backend.candidates(shape, device)
        if backend.why_unsupported(shape, device, candidate) is None
    ]


def emulate(monkeypatch: pytest.MonkeyPatch) -> mla_emulator.Emulator:
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    mla_emulator.install_flashinfer(monkeypatch)
    # No 384 MiB of zeros for each candidate.
    monkeypatch.setattr("autotune_cli.kernels.mla.backends._flashinfer.WORKSPACE", 1 << 20)
    return mla_emulator.install_sgl_kernel(monkeypatch)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("dtypes", [{}, {"kv_dtype": "float8_e4m3fn"}, {"dtype": "float16"}], ids=str)
@pytest.mark.parametrize("operation", NAMES)
def test_every_candidate(operation: str, mode: str, dtypes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    shape = workload(operation, **dtypes).model_copy(update={"mode": mode, "served_context": 4096})
    tried = set()
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for device in (H100, B200):
            for backend, candidate in candidates(shape, device):
                if (candidate.key, case) in tried:
                    continue
                prepared = backend.prepare(problem, **dict(candidate.knobs))
                assert isinstance(prepared, Prepared)
                assert prepared.plan is not None
                prepared.run().fill_(float("nan"))
                prepared.plan()
                verdict = problem.check(prepared.run())
                assert verdict.ok, (candidate.key, case, verdict.message)
                tried.add((candidate.key, case))
    names = {key.partition("(")[0] for key, _ in tried}
    assert names == (set(NAMES[operation]) if dtypes.get("kv_dtype") is None else {"flashinfer.mla"})


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("latent", [{}, {"dtype": "float16"}, {"qk_nope_head_dim": 192, "v_head_dim": 256}], ids=str)
@pytest.mark.parametrize("new", [60, 20])
def test_every_candidate_of_the_plain_form(
    new: int, latent: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a prefix and with one: keys are those of all tokens, the mask is aligned to their end."""
    emulate(monkeypatch)
    monkeypatch.setattr("autotune_cli.kernels.mla.backends._flashinfer._GRID", 1)
    shape = workload("prefill", **latent).model_copy(update={"mode": mode, "new": new})
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        found = candidates(shape, H100)
        merge = {"sgl_kernel.fa3_mla_ragged_merge"} if new < 60 else set()
        assert {candidate.key for _, candidate in found} == PLAIN | merge
        for backend, candidate in found:
            prepared = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(prepared, Prepared)
            prepared.run().fill_(float("nan"))
            if prepared.plan is not None:
                prepared.plan()
            verdict = problem.check(prepared.run())
            assert verdict.ok, (candidate.key, case, verdict.message)


@pytest.mark.parametrize(("capacity", "chunks"), [(131072, 1), (3 * 15, 3), (3 * 7, 6)])
def test_a_prefix_in_chunks(capacity: int, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk has as many tokens of every request, fewer where the prefix ends, and all are merged."""
    emulator = emulate(monkeypatch)
    monkeypatch.setattr("autotune_cli.kernels.mla.backends.sgl_kernel_fa3_mla_ragged_merge.CAPACITY", capacity)
    shape = workload("prefill").model_copy(update={"new": 20})
    problem = make_problem(shape, "workload", "cpu", 7)
    prepared = REGISTRY.get("sgl_kernel.fa3_mla_ragged_merge").prepare(problem)
    assert isinstance(prepared, Prepared)
    assert problem.check(prepared.run()).ok
    own, *others = emulator.calls["flash_attn_varlen_func"]
    assert (own["causal"], [call["causal"] for call in others]) == (True, [False] * chunks)
    assert len(emulator.calls["merge_state_v2"]) == chunks
    keys = [int(call["cu_seqlens_k"][-1]) for call in others]
    assert all(count <= capacity for count in keys)
    assert sum(keys) == sum(shape.lengths.kv) - sum(shape.lengths.qo)


@pytest.mark.parametrize(("operation", "name"), [(o, name) for o, names in NAMES.items() for name in names])
def test_a_replay_computes_what_was_planned_last(operation: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a captured graph holds is the same tensors with the new step's numbers: here half of each request."""
    emulator = emulate(monkeypatch)
    shape = workload(operation).model_copy(update={"mode": "graph", "served_context": 128})
    for backend, candidate in candidates(shape, B200 if name == "sgl_kernel.cutlass_mla" else H100, name):
        problem = make_problem(shape, "workload", "cpu", 7)
        prepared = backend.prepare(problem, **dict(candidate.knobs))
        assert isinstance(prepared, Prepared)
        assert prepared.plan is not None
        prepared.run()
        held = [(name, value.data_ptr()) for name, value in tensors(emulator).items()]
        other = shortened(problem)
        prepared.plan()
        verdict = other.check(prepared.run())
        assert verdict.ok, (candidate.key, verdict.message)
        assert [(name, value.data_ptr()) for name, value in tensors(emulator).items()] == held


def tensors(emulator: mla_emulator.Emulator) -> dict[str, torch.Tensor]:
    """Arguments of the last launch of sgl_kernel's."""
    launches = [calls[-1] for function, calls in emulator.calls.items() if function in LAUNCHES]
    return {name: value for call in launches for name, value in call.items() if isinstance(value, torch.Tensor)}


def test_a_capture_has_a_table_as_wide_as_the_longest_context_served(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = emulate(monkeypatch)
    for mode, wide in (("graph", 4096), ("eager", 87)):
        shape = workload("decode").model_copy(update={"served_context": 4096, "mode": mode})
        problem = make_problem(shape, "workload", "cpu", 7)
        for page_size in (1, 64):
            knobs = {"page_size": page_size, "num_splits": 0, "scheduler_metadata": True}
            REGISTRY.get("sgl_kernel.fa3_mla").prepare(problem, **knobs).run()  # type: ignore[union-attr]
            call = emulator.calls["flash_attn_with_kvcache"][-1]
            assert call["page_table"].shape[1] == -(-wide // page_size)
        assert emulator.calls["get_scheduler_metadata"][-1]["max_seqlen_k"] == max(shape.lengths.kv) == 87


def reason(name: str, operation: str, device: Device, **latent: Any) -> str | None:
    shape, backend = workload(operation, **latent), REGISTRY.get(name)
    return backend.why_unsupported(shape, device, next(iter(backend.candidates(shape, device))))


@pytest.mark.parametrize(
    ("name", "device", "latent", "wanted"),
    [
        ("sgl_kernel.fa3_mla", A100, {}, "compute capability 9.0 only, this is 8.0"),
        ("sgl_kernel.fa3_mla", H100, {"kv_dtype": "float8_e4m3fn"}, "not bfloat16 and float8_e4m3fn"),
        ("sgl_kernel.fa3_mla", H100, {"dtype": "float32"}, "not float32"),
        ("sgl_kernel.fa3_mla", H100, {"kv_lora_rank": 256}, "not 64 and 256"),
        ("sgl_kernel.flashmla", B200, {}, "compute capability 9.0, this is 10.0"),
        ("sgl_kernel.flashmla", H100, {"qk_rope_head_dim": 32}, "not 512 + 32"),
        ("sgl_kernel.flashmla", H100, {"dtype": "float32"}, "not float32"),
        ("sgl_kernel.flashmla", H100, {"kv_dtype": "float8_e4m3fn"}, "for queries of that dtype only"),
        ("sgl_kernel.cutlass_mla", H100, {}, "compute capability 10.0 (Blackwell), this is 9.0"),
        ("sgl_kernel.cutlass_mla", B200, {"kv_lora_rank": 256}, "not 256 + 64"),
        ("sgl_kernel.cutlass_mla", B200, {"kv_dtype": "float8_e4m3fn"}, "not bfloat16 on float8_e4m3fn"),
        ("sgl_kernel.cutlass_mla", B200, {"num_heads": 256}, "room for 128 heads, not 256"),
        ("flashinfer.mla", Device("cuda", "V100", (7, 0), 80), {}, "needs compute capability 8.0, this is 7.0"),
        ("flashinfer.mla", H100, {"kv_lora_rank": 256}, "not 256 + 64"),
        ("flashinfer.mla", H100, {"dtype": "float32"}, "not float32"),
        ("flashinfer.mla", A100, {"kv_dtype": "float8_e4m3fn"}, "needs compute capability 9.0 and bfloat16"),
        ("flashinfer.mla", H100, {"kv_dtype": "float8_e4m3fn", "dtype": "float16"}, "bfloat16 queries, not float16"),
        ("flashinfer.mla", A100, {}, None),
        ("flashinfer.mla", H100, {"num_heads": 128}, None),
        ("sgl_kernel.cutlass_mla", B200, {"num_heads": 16}, None),
    ],
)
def test_why_not(name: str, device: Device, latent: dict[str, Any], wanted: str | None) -> None:
    found = reason(name, "decode", device, **latent)
    assert (found is None) == (wanted is None)
    assert wanted is None or wanted in str(found)


@pytest.mark.parametrize(
    ("name", "device", "latent", "wanted"),
    [
        ("sgl_kernel.fa3_mla_ragged", A100, {}, "compute capability 9.0 only, this is 8.0"),
        ("sgl_kernel.fa3_mla_ragged", H100, {"v_head_dim": 192}, None),
        ("sgl_kernel.fa3_mla_ragged", H100, {"v_head_dim": 96}, "keys of 192 and values of 96"),
        ("flashinfer.mla_ragged", H100, {"v_head_dim": 192}, "keys of 192 and values of 192"),
        ("flashinfer.mla_ragged", H100, {"dtype": "float32"}, "not float32"),
        ("flashinfer.mla_ragged", A100, {}, None),
    ],
)
def test_why_not_the_plain_form(name: str, device: Device, latent: dict[str, Any], wanted: str | None) -> None:
    found = reason(name, "prefill", device, **latent)
    assert (found is None) == (wanted is None)
    assert wanted is None or wanted in str(found)


def test_fa3_is_hoppers() -> None:
    (backend, *_), shape = REGISTRY.of("attention.mla_decode"), workload("decode")
    assert backend.name == "flashinfer.mla"
    keys = [candidate.key for _, candidate in candidates(shape, A100, "flashinfer.mla")]
    assert keys == [f"flashinfer.mla(path=fa2,page_size={size})" for size in (1, 16, 64)]
    assert len(candidates(shape, H100, "flashinfer.mla")) == 6


def test_a_batch_that_flashinfers_plan_has_no_room_for() -> None:
    """It writes beyond its tables, and says nothing."""
    from autotune_cli.kernels.mla.backends import _flashinfer as common

    shape = workload("extend", num_heads=128).model_copy(update={"batch": 16, "new": 1024, "context": 2048})
    even = shape.model_copy(update={"spread": "even"})
    # 1024 new tokens of 128 heads are 131072 rows; two blocks have 128 of them.
    assert common.work_items(even) == 16 * 1024
    assert "room for 16384 work items, this batch has 16384 and more" in str(common.why_not_absorbed(even, H100, "fa3"))
    assert common.why_not_absorbed(even.model_copy(update={"batch": 15}), H100, "fa3") is None
    one = workload("decode", num_heads=16).model_copy(update={"batch": 64, "spread": "even"})
    assert common.work_items(one) == 64


def test_splits_are_tried_where_the_gpu_has_room_for_them() -> None:
    def splits(batch: int, context: int, heads: int) -> set[int]:
        shape = workload("decode", num_heads=heads).model_copy(update={"batch": batch, "context": context})
        found = candidates(shape, H100, "sgl_kernel.fa3_mla")
        return {int(str(dict(candidate.knobs)["num_splits"])) for _, candidate in found}

    assert splits(1, 131072, 16) == {0, 1, 2, 3, 4, 8, 16, 32}
    assert splits(1, 200, 16) == {0, 1, 2, 3, 4}
    # 128 heads are two tiles.
    assert splits(64, 8192, 16) == {0, 1, 2, 3, 4, 8}
    assert splits(64, 8192, 128) == {0, 1, 2, 3, 4}
    assert splits(512, 8192, 128) == {0, 1}


def test_no_two_candidates_are_alike() -> None:
    for operation in (*NAMES, "prefill"):
        keys = [candidate.key for _, candidate in candidates(workload(operation), H100)]
        assert len(set(keys)) == len(keys) >= 3


@pytest.mark.parametrize("longer", [0, 3])
def test_a_block_table_is_filled_in_place_and_no_further(longer: int) -> None:
    """Canaries: buffers longer than the batch keep what lies behind it."""
    from autotune_cli.kernels.mla.backends._metadata import fill_block_table, fill_lengths

    counts = torch.tensor([2, 0, 3])
    indptr = torch.zeros(4 + longer, dtype=torch.int32)
    indptr[1:4] = counts.cumsum(0)
    # Stale numbers of an earlier, larger batch.
    indptr[4:], indices = 999, torch.tensor([5, 6, 7, 8, 9, 11, 12], dtype=torch.int32)
    table, lengths = (torch.full(shape, -7, dtype=torch.int32) for shape in ((3 + longer, 4), (3 + longer,)))
    before = table.data_ptr(), lengths.data_ptr()
    fill_block_table(table, indices, indptr, 3)
    fill_lengths(lengths, torch.tensor([70, 1, 130, 999], dtype=torch.int32), 3)
    assert table[:3].tolist() == [[5, 6, -7, -7], [-7, -7, -7, -7], [7, 8, 9, -7]]
    assert lengths[:3].tolist() == [70, 1, 130]
    assert (table[3:] == -7).all()
    assert (lengths[3:] == -7).all()
    assert before == (table.data_ptr(), lengths.data_ptr())


def test_what_a_backend_says_it_needs_is_what_it_takes() -> None:
    """``needs`` is text, so nothing else holds it against ``unsupported``."""
    shapes = [workload("decode"), workload("extend"), workload("prefill").model_copy(update={"context": 90})]
    shapes.append(workload("sparse_decode").model_copy(update={"index_topk": 2048}))
    told = [backend for backend in REGISTRY.all() if backend.needs and "mla" in backend.operations[0]]
    assert len(told) == 7
    for backend in told:
        (shape,) = [shape for shape in shapes if shape.operation == backend.operations[0]]
        gpus = {(major, minor) for major, minor in ((8, 0), (9, 0), (10, 0), (12, 0))}
        taken = {
            gpu
            for gpu in gpus
            for candidate in backend.candidates(shape, Device("cuda", "a GPU", gpu, 132))
            if backend.why_unsupported(shape, Device("cuda", "a GPU", gpu, 132), candidate) is None
        }
        assert taken == {tuple(map(int, number.split("."))) for number in re.findall(r"\d+\.\d", backend.needs)}
        (cpu,) = {backend.why_unsupported(shape, CPU, candidate) for candidate in backend.candidates(shape, CPU)}
        assert cpu == f"needs {backend.needs}, this is cpu"
