"""A decode step over the tokens that an indexer selected: inputs, judge, every candidate without a GPU, and slots that
are none.
"""

from __future__ import annotations

import copy
from typing import Any

import mla_emulator
import pytest
import torch
from mla_cases import SELECTED, workload
from pydantic import ValidationError

from autotune_cli.errors import EmptySuite
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.kernels.mla.backends import _metadata as metadata
from autotune_cli.kernels.mla.backends import sgl_kernel_flashmla_sparse as flashmla
from autotune_cli.kernels.mla.problem import SelectedProblem, cases, make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.models import build_suite
from autotune_cli.kernels.registry import REGISTRY, Device, Prepared
from autotune_cli.tuning.plan import plan

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
OPERATION = "attention.mla_sparse_decode"


def made(case: str = "edges", **latent: Any) -> SelectedProblem:
    problem = make_problem(workload("sparse_decode", **latent), case, "cpu", 7)
    assert isinstance(problem, SelectedProblem)
    return problem


def test_a_workload_says_how_many_are_selected() -> None:
    shape = workload("sparse_decode")
    assert " select 64 " in shape.key
    assert shape.read == tuple(min(SELECTED, tokens) for tokens in shape.lengths.kv)
    assert set(shape.read) != {SELECTED}
    assert workload("decode").read == workload("decode").lengths.kv
    with pytest.raises(ValidationError, match="index_topk says how many"):
        MlaWorkload.model_validate(shape.model_dump() | {"index_topk": None})


def test_what_is_selected_is_what_must_be_read() -> None:
    shape, whole = workload("sparse_decode"), workload("decode")
    assert cost(whole).flops / cost(shape).flops == sum(whole.lengths.kv) / sum(shape.read)
    assert cost(shape).bytes < cost(whole).bytes
    assert memory_bytes(shape) > memory_bytes(whole)


def test_the_selection_of_a_workload_is_a_prefix_and_that_of_the_edges_has_holes() -> None:
    for case in ("workload", "edges"):
        problem = made(case)
        holes = 0
        for row, tokens in zip(problem.selected, problem.lengths.kv, strict=True):
            kept = row[row >= 0]
            assert len(kept) == len(kept.unique()) >= 1
            assert int(kept.max()) < tokens
            holes += int((row[: len(kept)] < 0).any())
        assert (holes > 3) == (case == "edges")


@pytest.mark.parametrize("page_size", [1, 16])
def test_slots_hold_the_selected_tokens(page_size: int) -> None:
    problem = made(dtype="float32")
    pool = problem.paged(page_size).pool.flatten(0, 1)
    parts = problem._tokens.split(list(problem.lengths.kv))
    for tokens, row, slots in zip(parts, problem.selected, problem.slots(page_size), strict=True):
        assert ((slots < 0) == (row < 0)).all()
        assert torch.equal(pool[slots[slots >= 0].long()], tokens[row[row >= 0].long()])


def test_views_and_moved_inputs() -> None:
    problem = made()
    view = problem.view()
    view.slots(1)
    assert {"selected", "slots in pages of 1", "pages of 1"} <= set(view.inputs())
    other = problem.moved()
    assert other.selected.data_ptr() != problem.selected.data_ptr()
    assert torch.equal(other.slots(1), problem.slots(1))


def candidates(shape: MlaWorkload, device: Device, library: str) -> list[Any]:
    return [
        (backend, candidate)
        for backend in REGISTRY.of(OPERATION)
        if backend.name.startswith(library)
        for candidate in backend.candidates(shape, device)
        if backend.why_unsupported(shape, device, candidate) is None
    ]


@pytest.mark.parametrize("library", ["torch.", "sgl_kernel."])
@pytest.mark.parametrize("heads", [4, 64])
@pytest.mark.parametrize("dtypes", [{}, {"dtype": "float16"}, {"kv_dtype": "float8_e4m3fn"}], ids=str)
def test_every_candidate(library: str, heads: int, dtypes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mla_emulator.install_sgl_kernel(monkeypatch)
    monkeypatch.setattr(flashmla, "_SELECTED", SELECTED)
    shape = workload("sparse_decode", num_heads=heads, **dtypes)
    found = candidates(shape, H100, library)
    names = {"torch.": {"torch.mla_sparse"}, "sgl_kernel.": {"sgl_kernel.fa3_mla_sparse", "sgl_kernel.flashmla_sparse"}}
    missing = {"sgl_kernel.flashmla_sparse"} if dtypes else set()
    wanted = set() if "kv_dtype" in dtypes and library != "torch." else names[library] - missing
    assert {backend.name for backend, _ in found} == wanted
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for backend, candidate in found:
            prepared = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(prepared, Prepared)
            prepared.run().fill_(float("nan"))
            if prepared.plan is not None:
                prepared.plan()
            verdict = problem.check(prepared.run())
            assert verdict.ok, (candidate.key, case, verdict.message)


def select_anew(problem: SelectedProblem, seed: int) -> None:
    """Another selection, in the tensors of the first one."""
    other = make_problem(problem.workload, "edges", "cpu", seed)
    assert isinstance(other, SelectedProblem)
    problem.selected.copy_(other.selected)
    fresh = copy.copy(problem)
    fresh._slots = {}
    problem.slots(1).copy_(fresh.slots(1))
    problem.__dict__.pop("reference", None)


def addresses(call: dict[str, Any]) -> dict[str, int]:
    """Where the tensors of a launch lie."""
    return {name: value.data_ptr() for name, value in call.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("name", ["fa3_mla_sparse", "flashmla_sparse"])
def test_a_slot_that_is_none_is_never_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: a -1 between the selected slots was read, as the kernel takes the first ``min(length, topk)`` of a row
    (SGLang #30645). The emulation reads that many, too, and stops at a slot that is no request's.

    Put back: in ``fill_selected`` copy ``rows`` as they are, or count ``table.shape[1]`` for each.
    """
    emulator = mla_emulator.install_sgl_kernel(monkeypatch)
    problem = made()
    backend = REGISTRY.get(f"sgl_kernel.{name}")
    knobs = {"num_splits": 0} if name == "fa3_mla_sparse" else {}
    prepared = backend.prepare(problem, **knobs)
    assert isinstance(prepared, Prepared)
    assert problem.check(prepared.run()).ok
    (call,) = emulator.calls["flash_attn_with_kvcache" if knobs else "flash_mla_sparse_fwd"]
    table = call["page_table"] if knobs else call["indices"][:, 0]
    counts = call["cache_seqlens"] if knobs else call["topk_length"]
    assert counts.tolist() == (problem.selected >= 0).sum(1).tolist()
    for row, count in zip(table, counts.tolist(), strict=True):
        assert (row[:count] > 0).all()
    # Further steps' selections go into the tensors that the captured kernel reads.
    held = addresses(call)
    assert prepared.plan is not None
    for seed in (8, 9, 10):
        select_anew(problem, seed)
        assert not problem.check(prepared.run()).ok
        prepared.plan()
        assert problem.check(prepared.run()).ok
        assert addresses(emulator.calls["flash_attn_with_kvcache" if knobs else "flash_mla_sparse_fwd"][-1]) == held


def test_the_table_is_filled_in_place_no_further_and_without_waiting() -> None:
    """Put back: ``batch = len(slots)``, or ``int(none.sum())``, in ``fill_selected``."""
    slots = torch.tensor([[7, -1, 3, -1], [-1, -1, -1, 9], [5, 6, 7, 8]], dtype=torch.int32)
    table, counts = torch.full((3, 4), -7, dtype=torch.int32), torch.full((3,), -7, dtype=torch.int32)
    metadata.fill_selected(table, counts, slots, 2)
    assert table.tolist() == [[7, 3, -1, -1], [9, -1, -1, -1], [-7] * 4]
    assert counts.tolist() == [2, 1, -7]
    metadata.fill_selected(table.to("meta"), counts.to("meta"), slots.to("meta"), 2)


@pytest.mark.parametrize(
    ("device", "latent", "words"),
    [
        (Device("cuda", "NVIDIA A100", (8, 0), 108), {}, "9.0 and 10.0, this is 8.0"),
        (H100, {"kv_lora_rank": 256}, "not 256 + 64"),
        (H100, {"kv_dtype": "float8_e4m3fn"}, "not bfloat16 and float8_e4m3fn"),
        (H100, {}, "known to take 2048 selected tokens, not 64"),
    ],
)
def test_why_not_flashmla(device: Device, latent: dict[str, Any], words: str) -> None:
    assert words in str(flashmla.unsupported(workload("sparse_decode", **latent), device, {}))


def test_a_model_with_an_indexer_has_it_in_place_of_a_dense_decode() -> None:
    def operations(model: str, wanted: str | None = None, **options: Any) -> set[str]:
        found = build_suite(model, "cuda", operations=wanted, **options).workloads
        return {each.operation for each in found if each.operation.endswith("decode")}

    suite = build_suite("deepseek-v3.2", "cuda", operations="mla_sparse_decode", tp=8)
    assert {(each.operation, each.mode, each.index_topk) for each in suite.workloads} == {(OPERATION, "graph", 2048)}  # type: ignore[attr-defined]
    for wanted in (None, "mla", "mla,topk"):
        assert operations("deepseek-v3.2", wanted) == {OPERATION}
    # Named itself, it is what the user gets.
    assert operations("deepseek-v3.2", "mla_decode") == {"attention.mla_decode"}
    assert operations("deepseek-v3.2", "attention.mla_decode,mla") == {"attention.mla_decode"}
    assert operations("deepseek-v3", "mla") == {"attention.mla_decode"}
    # Over lengths a step is measured that reads all of them.
    assert operations("deepseek-v3.2", lengths="suite") == {"attention.mla_decode"}
    with pytest.raises(EmptySuite, match="no sparse indexer, so all keys are read"):
        build_suite("deepseek-v3", "cuda", operations="mla_sparse_decode")


def test_what_sglang_runs() -> None:
    def default(kv_dtype: str | None = None) -> tuple[str | None, str | None]:
        shape = workload("sparse_decode", kv_dtype=kv_dtype).model_copy(update={"index_topk": 2048})
        found = plan(shape, H100, [parse_baseline("sglang")], "deepseek_v32").baselines[0]
        return found.candidate, found.missing

    assert default()[0] == "sgl_kernel.fa3_mla_sparse(num_splits=0)"
    assert "FP8 cache is no candidate yet" in str(default("float8_e4m3fn")[1])
