"""A decode step that computes its scores: inputs in DeepGEMM's layout, a judge that allows for rounding, backends."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from autotune_cli.errors import BadField
from autotune_cli.kernels.base import CapturedScores
from autotune_cli.kernels.models.catalog import load_model
from autotune_cli.kernels.models.suite import build_suite
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, prepared
from autotune_cli.kernels.topk.cost import cost
from autotune_cli.kernels.topk.family import FAMILY
from autotune_cli.kernels.topk.indexer import TOLERANCE
from autotune_cli.kernels.topk.problem import TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.reference import make_reference
from autotune_cli.kernels.topk.workload import TopkWorkload

H100 = Device("cuda", "NVIDIA H100", (9, 0), 132)


def load(**fields: Any) -> TopkWorkload:
    given = {"operation": "topk.indexer", "rows": 4, "width": 256, "k": 16, "mode": "eager", "spread": "uneven"}
    indexer = {"page_size": 64, "index_heads": 32, "index_dim": 128}
    return TopkWorkload.model_validate({**given, **indexer, **fields})


def drawn(case: str = "computed", **fields: Any) -> TopkProblem:
    return make_problem(load(**fields), case, "cpu", 3)


def logits_of(problem: TopkProblem) -> torch.Tensor:
    """Key by key, from the bytes."""
    inputs, layout = problem.indexer, problem.layout
    assert inputs is not None
    assert layout is not None
    assert layout.page_table is not None
    page, dim = 64, 128
    logits = torch.full(problem.scores.shape, -torch.inf)
    for row, length in enumerate(problem.lengths.tolist()):
        for position in range(length):
            held = inputs.cache[int(layout.page_table[row, position // page])].flatten()
            place = position % page
            key = held[place * dim : (place + 1) * dim].view(torch.float8_e4m3fn).double()
            at = page * dim + 4 * place
            scale = held[at : at + 4].clone().view(torch.float32).double()
            products = (inputs.q[row].double() @ key).clamp(min=0.0)
            logits[row, position] = (products * inputs.weights[row].double()).sum() * scale
    return logits


def test_scores_are_those_of_the_cached_bytes() -> None:
    problem = drawn(width=128, rows=2)
    exact = logits_of(problem)
    valid = exact.isfinite()
    torch.testing.assert_close(problem.scores[valid], exact[valid])
    # Behind a row's keys there is garbage that shows.
    assert bool((problem.scores[~valid].abs() > 100 * exact[valid].abs().max()).all())
    assert "scores" not in problem.inputs(), "a candidate computes them"
    assert {"q", "weights", "cache", "lengths", "page_table"} <= problem.inputs().keys()


@pytest.mark.parametrize("case", ["computed", "lengths"])
def test_torch_is_right(case: str) -> None:
    problem = drawn(case)
    before = {name: tensor.clone() for name, tensor in problem.inputs().items()}
    run = prepared(Candidate("torch.indexer"), problem).run
    for _ in range(2):
        verdict = problem.check(run())
        assert verdict.ok, verdict.message
    assert all(torch.equal(before[name].view(torch.uint8), each.view(torch.uint8))
               for name, each in problem.inputs().items())  # fmt: skip
    assert problem.check(run()[:, :8]).message == "wrong shape [4, 8], expected [4, 16]"


def with_scores(values: list[float], k: int) -> TopkProblem:
    """One row of these scores, in pages of one key."""
    problem = drawn(rows=1, width=len(values), k=k, page_size=1, spread="even")
    scores = torch.tensor([values])
    return replace(problem, scores=scores, reference=make_reference(scores, problem.lengths, k))


def test_close_to_the_boundary_either_may_be_taken() -> None:
    near = 100.0 * TOLERANCE
    problem = with_scores([100.0, 50.0, 50.0 - 0.5 * near, 50.0 - 1.5 * near, 10.0, 5.0], 2)
    layout = problem.layout
    assert layout is not None
    assert layout.page_table is not None
    table = layout.page_table[0]

    def judged(*taken: int) -> str:
        slots = torch.tensor([[-1 if each < 0 else int(table[each]) for each in taken]], dtype=torch.int32)
        return problem.check(slots).message

    assert judged(0, 1) == judged(2, 0) == ""
    assert "takes 1 below the boundary" in judged(0, 3)
    assert "misses 1 of 2" in judged(1, 2)
    assert "misses 1 of 2" in judged(0, 0)
    assert "misses 1 of 2" in judged(0, -1)
    assert "1 others are no keys" in judged(-1, 0)


def test_its_workloads() -> None:
    suite = build_suite(load_model("deepseek-v3.2"), "cuda", operations="topk.indexer")
    assert {(each.index_heads, each.index_dim, each.page_size, each.spread) for each in suite.workloads} == {
        (64, 128, 64, "uneven")
    }
    assert "topk.indexer" not in {each.operation for each in build_suite(load_model("deepseek-v3.2"), "cuda").workloads}
    assert FAMILY.checks("topk.indexer", "cuda") == []
    file = CapturedScores(path="x", digest="0" * 16, rows=4, width=64, dtype="float32")
    with pytest.raises(BadField, match=r"topk\.indexer computes its scores"):
        build_suite(load_model("deepseek-v3.2"), "cuda", operations="topk.indexer", captured=file)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"index_heads": None}, "needs both"),
        ({"requests": 2}, "a query of each request"),
        ({"operation": "topk.paged"}, "index_heads and index_dim are of topk.indexer"),
    ],
)
def test_workloads_that_make_no_sense(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(**fields)


def test_its_cost_is_that_of_the_keys() -> None:
    even = load(spread="even")
    read = 4 * (256 * 132 + 32 * 132 + 4 * 4)
    assert cost(even).bytes == read + 4 * 16 * 4
    assert cost(even).flops == 2 * 4 * 256 * 32 * 128
    # All of a row that is no longer than k are selected: its keys decide nothing.
    assert cost(load(spread="even", k=256)).flops == 0


@pytest.fixture
def fake_deep_gemm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """DeepGEMM as SGLang 0.5.23 calls it; its rows are padded to 1024 scores, and hold anything behind their keys."""
    calls: list[str] = []

    def metadata(context_lens: torch.Tensor, block: int, multiprocessors: int) -> torch.Tensor:
        calls.append("plan")
        assert (context_lens.dim(), block, multiprocessors) == (2, 64, 132)
        return context_lens.clone()

    def fp8_paged_mqa_logits(q, cache, weights, context_lens, table, schedule, width, clean_logits):  # type: ignore[no-untyped-def]
        calls.append("logits")
        assert q.dtype == torch.float8_e4m3fn
        rows, each, heads, dim = q.shape
        assert (each, cache.dtype, cache.shape[1:]) == (1, torch.uint8, (64, 1, dim + 4))
        assert weights.shape == (rows, heads)
        assert torch.equal(schedule, context_lens), "the schedule is that of other lengths"
        wide = torch.full((rows, -(-width // 1024) * 1024), 1e30)
        held = SimpleNamespace(indexer=None, lengths=context_lens[:, 0])
        for row in range(rows):
            pages = cache[table[row].long()].flatten(1)
            keys = pages[:, : 64 * dim].reshape(-1, dim).view(torch.float8_e4m3fn).float()
            scales = pages[:, 64 * dim :].contiguous().view(torch.float32).flatten()
            scores = (keys @ q[row, 0].float().T).clamp(min=0.0) @ weights[row] * scales
            length = int(held.lengths[row])
            wide[row, :length] = scores[:length]
        return wide[:, :width]

    module = ModuleType("deep_gemm")
    vars(module).update(get_paged_mqa_logits_metadata=metadata, fp8_paged_mqa_logits=fp8_paged_mqa_logits)
    monkeypatch.setitem(sys.modules, "deep_gemm", module)
    properties = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return calls


@pytest.mark.parametrize("name", ["deep_gemm.indexer_sglang", "deep_gemm.indexer_flashinfer"])
@pytest.mark.parametrize("case", ["computed", "lengths"])
def test_deep_gemm_is_called_as_it_is_meant(
    fake_deep_gemm: list[str], fake_sglang: list[str], fake_flashinfer: object, name: str, case: str
) -> None:
    problem = drawn(case)
    backend = REGISTRY.get(name)
    every = list(backend.candidates(problem.workload, H100))
    found = [each for each in every if backend.why_unsupported(problem.workload, H100, each) is None]
    # One of FlashInfer's settings is refused.
    assert len(every) - len(found) == (name == "deep_gemm.indexer_flashinfer")
    for candidate in found:
        made = prepared(candidate, problem)
        verdict = problem.check(made.run())
        assert verdict.ok, (candidate.key, verdict.message)
    # Refilled in place, planned again.
    other = problem.other_batch()
    for key, tensor in problem.inputs().items():
        tensor.copy_(other.inputs()[key])
    assert made.plan is not None
    made.plan()
    assert other.check(made.run()).ok


@pytest.mark.parametrize(
    ("fields", "device", "reason"),
    [
        ({"page_size": 32}, H100, "reads pages of 64 keys, these have 32"),
        ({"index_heads": 16}, H100, "is made for 32 or 64 heads of 128, these are 16 of 128"),
        ({}, Device("cuda", "NVIDIA A100", (8, 0), 108), "needs compute capability 9.0 or 10.0"),
        ({"k": 4096, "width": 8192}, H100, "4096"),
    ],
)
def test_what_deep_gemm_cannot_do(fields: dict[str, Any], device: Device, reason: str) -> None:
    for name in ("deep_gemm.indexer_sglang", "deep_gemm.indexer_flashinfer"):
        backend, workload = REGISTRY.get(name), load(**fields)
        reasons = [backend.why_unsupported(workload, device, each) for each in backend.candidates(workload, device)]
        assert any(reason in (each or "") for each in reasons)
    assert cases(load()) == ("computed", "lengths")
