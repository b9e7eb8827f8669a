from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, Prepared
from autotune_cli.kernels.topk.problem import TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.reference import make_reference
from autotune_cli.kernels.topk.workload import TopkWorkload

CPU = Device("cpu", "a CPU")
H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
# (rows, width, k): one score, few rows, k in SGLang's size with a ragged tail for two_stage, rows shorter than k.
SHAPES = [(1, 1, 1), (2, 300, 1), (7, 5000, 5), (5, 9000, 2048), (4, 1000, 2048), (7, 64, 64)]


def workload(rows: int, width: int, k: int, spread: str = "even", mode: str = "eager") -> TopkWorkload:
    return TopkWorkload(operation="topk.select", rows=rows, width=width, k=k, spread=spread, mode=mode)  # type: ignore[arg-type]


def prepare(problem: TopkProblem, candidate: Candidate) -> Prepared:
    made = REGISTRY.get(candidate.backend).prepare(problem, **dict(candidate.knobs))
    return made if isinstance(made, Prepared) else Prepared(made)


def supported(backend: str, load: TopkWorkload, device: Device) -> Iterator[Candidate]:
    one = REGISTRY.get(backend)
    for candidate in one.candidates(load, device):
        if one.why_unsupported(load, device, candidate) is None:
            yield candidate


def assert_right(backend: str, load: TopkWorkload, device: Device) -> int:
    checked = 0
    for case in cases(load):
        problem = make_problem(load, case, "cpu", 5)
        before = [t.clone() for t in problem.inputs().values()]
        for candidate in supported(backend, load, device):
            run = prepare(problem, candidate).run
            for _ in range(2):
                verdict = problem.check(run())
                assert verdict.ok, f"{candidate.key} on {case}: {verdict.message}"
            checked += 1
        assert all(torch.equal(a, b) for a, b in zip(before, problem.inputs().values(), strict=True))
    return checked


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", ["torch.topk", "torch.two_stage"])
def test_torch_is_right(backend: str, shape: tuple[int, int, int], spread: str) -> None:
    checked = assert_right(backend, workload(*shape, spread), CPU)
    assert checked or backend == "torch.two_stage"


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", ["flashinfer.top_k", "flashinfer.top_k_ragged_transform"])
def test_flashinfer_is_right_whichever_equal_scores_it_takes(
    fake_flashinfer: object, backend: str, shape: tuple[int, int, int], spread: str
) -> None:
    assert assert_right(backend, workload(*shape, spread), H200)


def uneven(scores: torch.Tensor, lengths: torch.Tensor, k: int) -> TopkProblem:
    load = workload(*scores.shape, k, "uneven")  # type: ignore[misc]
    return TopkProblem(load, scores, lengths, False, "cpu", make_reference(scores, lengths, k))


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("backend", ["flashinfer.top_k", "torch.topk"])
def test_masking_is_right_on_every_row_of_four_hard_scores(fake_flashinfer: object, backend: str, k: int) -> None:
    values = (-torch.inf, torch.finfo(torch.float32).min, -0.0, torch.inf)
    rows = torch.tensor(list(itertools.product(values, repeat=4)))
    scores, lengths = rows.repeat(5, 1), torch.arange(5, dtype=torch.int32).repeat_interleave(len(rows))
    problem = uneven(scores, lengths, k)
    for candidate in supported(backend, problem.workload, H200):
        verdict = problem.check(prepare(problem, candidate).run())
        assert verdict.ok, f"{candidate.key}: {verdict.message}"


def test_a_real_minus_infinity_is_told_from_the_lowest_finite_score_and_from_a_masked_one(
    fake_flashinfer: object,
) -> None:
    lowest = torch.finfo(torch.float32).min
    scores = torch.tensor([[-torch.inf, lowest, lowest, -torch.inf, 9.0], [-torch.inf, torch.inf, -1.0, 9.0, 9.0]])
    lengths = torch.tensor([4, 3], dtype=torch.int32)
    problem = uneven(scores, lengths, 3)
    for backend in ("flashinfer.top_k", "flashinfer.top_k_ragged_transform", "torch.topk"):
        for candidate in supported(backend, problem.workload, H200):
            out = prepare(problem, candidate).run()
            assert problem.check(out).ok, candidate.key
            assert {1, 2} < set(out[0].tolist())
            assert set(out[1].tolist()) == {0, 1, 2}


def test_flashinfer_sees_the_algorithm_of_the_candidate_and_the_user_gets_his_back(
    fake_flashinfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(workload(2, 100, 5), "normal", "cpu", 0)
    for users in (None, "clusters"):
        if users:
            monkeypatch.setenv("FLASHINFER_TOPK_ALGO", users)
        for backend in ("flashinfer.top_k", "flashinfer.top_k_ragged_transform"):
            for algorithm, seen in (("auto", None), ("filtered", "filtered"), ("multi_cta", "multi_cta")):
                run = prepare(problem, Candidate(backend, (("algorithm", algorithm),))).run
                assert os.environ.get("FLASHINFER_TOPK_ALGO") == users
                run()
                assert fake_flashinfer.calls[-1]["algorithm"] == seen
                assert os.environ.get("FLASHINFER_TOPK_ALGO") == users


def test_the_algorithm_is_put_back_after_an_error(fake_flashinfer, monkeypatch: pytest.MonkeyPatch) -> None:
    import flashinfer

    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("TopK failed with error code")

    monkeypatch.setattr(flashinfer, "top_k", fails)
    problem = make_problem(workload(2, 100, 5), "normal", "cpu", 0)
    with pytest.raises(RuntimeError):
        prepare(problem, Candidate("flashinfer.top_k", (("algorithm", "filtered"),))).run()
    assert "FLASHINFER_TOPK_ALGO" not in os.environ


def test_flashinfer_knobs_reach_the_call(fake_flashinfer) -> None:
    load = workload(2, 100, 5)
    problem = make_problem(load, "normal", "cpu", 0)
    for backend in ("flashinfer.top_k", "flashinfer.top_k_ragged_transform"):
        seen = []
        for candidate in supported(backend, load, H200):
            prepare(problem, candidate).run()
            seen.append(tuple(fake_flashinfer.calls[-1].values()))
        assert len(set(seen)) == len(seen) == 16
        assert (None, False, 2, False) in seen
        assert (None, True, 1, True) in seen
        assert (None, False, 0, True) in seen
        assert ("multi_cta", True, 0, False) in seen


@pytest.mark.parametrize(
    ("shape", "device", "left", "reason"),
    [
        ((4, 65536, 2048), H200, 16, None),
        ((4, 65536, 4096), H200, 4, "the filtered algorithm needs k <= 2048, this is k = 4096"),
        ((4, 1024, 2048), H200, 14, "needs rows longer than k; FlashInfer runs multi_cta on 1024 scores"),
        ((4, 65536, 2048), Device("cuda", "RTX 5090", (12, 0)), 4, "needs 128 KiB of shared memory, RTX 5090 has 100"),
        ((4, 65536, 2048), CPU, 0, "needs cuda, this is cpu"),
    ],
)
def test_flashinfer_says_what_it_cannot_do(shape, device: Device, left: int, reason: str | None) -> None:
    load = workload(*shape)
    for name in ("flashinfer.top_k", "flashinfer.top_k_ragged_transform"):
        backend = REGISTRY.get(name)
        assert len(list(supported(name, load, device))) == left
        reasons = [backend.why_unsupported(load, device, c) for c in backend.candidates(load, device)]
        assert reason is None or any(reason in text for text in reasons if text)


PAGED = ("flashinfer.top_k_page_table_transform", "deep_gemm.indexer_flashinfer")


@pytest.mark.parametrize("name", PAGED)
@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"rows": 16, "width": 65536}, ("multi_cta",)),
        ({"rows": 5, "width": 65536}, ("multi_cta",)),
        ({"rows": 4, "width": 65536}, ("auto", "multi_cta")),
        ({"rows": 1, "width": 32768}, ("multi_cta",)),
        ({"rows": 64, "width": 32768, "dtype": "bfloat16"}, ("auto", "multi_cta")),
        ({"rows": 64, "width": 16384, "dtype": "bfloat16"}, ("multi_cta",)),
        ({"rows": 1, "width": 8192, "k": 4096}, ("auto", "multi_cta")),
    ],
    ids=str,
)
def test_the_kernel_that_reads_beyond_the_page_table_is_no_candidate(
    name: str, fields: dict[str, Any], refused: tuple[str, ...]
) -> None:
    operation = REGISTRY.get(name).operations[0]
    shape = {"operation": operation, "mode": "eager", "k": 2048, "page_size": 64, **fields}
    if operation == "topk.indexer":
        # Its scores are float32.
        shape |= {"index_heads": 64, "index_dim": 128, "dtype": "float32"}
        refused = ("multi_cta",) if "dtype" in fields else refused
    load, backend = TopkWorkload.model_validate(shape), REGISTRY.get(name)
    reasons = {c.key: backend.why_unsupported(load, H200, c) for c in backend.candidates(load, H200)}
    wanted = {f"{name}(algorithm={algorithm})" for algorithm in refused}
    assert {key for key, reason in reasons.items() if "reads beyond the page table" in str(reason)} == wanted
    if load.k == 2048:
        assert {key for key, reason in reasons.items() if reason is not None} == wanted


def test_a_candidate_need_not_name_the_algorithm() -> None:
    load = TopkWorkload.model_validate(
        {"operation": "topk.paged", "mode": "eager", "rows": 16, "width": 65536, "k": 2048}
    )
    for name, shape in (("flashinfer.top_k", workload(16, 65536, 2048)), (PAGED[0], load)):
        candidate = Candidate(name, (("tie_break", "small"),))
        assert REGISTRY.get(name).why_unsupported(shape, H200, candidate) is None


def test_sgl_kernel_is_for_2048_on_cuda() -> None:
    sgl = REGISTRY.get("sgl_kernel.fast_topk_v2")
    (candidate,) = sgl.candidates(workload(4, 65536, 2048), H200)
    assert sgl.why_unsupported(workload(4, 65536, 2048), H200, candidate) is None
    reason = sgl.why_unsupported(workload(4, 65536, 512), H200, candidate)
    assert reason == "is compiled for k = 2048 only, this is k = 512"
    assert sgl.install == "pip install 'kernel-autotune[cuda]'"


def test_two_stage_chunks_leave_something_out() -> None:
    two_stage = REGISTRY.get("torch.two_stage")

    def chunks(width: int, k: int) -> list[object]:
        return [dict(c.knobs)["chunk"] for c in two_stage.candidates(workload(1, width, k), CPU)]

    assert chunks(262144, 2048) == [4096, 8192, 16384, 32768]
    assert chunks(16384, 4096) == [8192]
    assert chunks(4096, 5) == []


def test_labels_read_well() -> None:
    labels = [c.label for c in REGISTRY.get("flashinfer.top_k").candidates(workload(4, 65536, 2048), H200)]
    assert labels[:2] == ["flashinfer.top_k auto", "flashinfer.top_k filtered"]
    assert "flashinfer.top_k multi_cta deterministic" in labels
    assert "flashinfer.top_k auto dsa graph safe" in labels


def test_build_compiles_flashinfers_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType, SimpleNamespace

    built = []
    module = ModuleType("flashinfer.jit.topk")
    spec = SimpleNamespace(name="topk", build_and_load=lambda: built.append(1))
    module.gen_topk_module = lambda: spec  # type: ignore[attr-defined]
    core = ModuleType("flashinfer.jit.core")
    core.current_compilation_context = SimpleNamespace(TARGET_CUDA_ARCHS={(9, "0a")})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer.jit.core", core)
    for name in ("flashinfer", "flashinfer.jit"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "flashinfer.jit.topk", module)
    for name in ("flashinfer.top_k", "flashinfer.top_k_ragged_transform"):
        build, modules = REGISTRY.get(name).build, REGISTRY.get(name).modules
        assert build is not None
        assert modules is not None
        (only,) = modules(workload(4, 65536, 2048), algorithm="auto")
        assert (only.name, only.variables) == ("topk", {"FLASHINFER_CUDA_ARCH_LIST": "9.0a"})
        assert built.count(1) == len(built) < 2, "nothing is compiled by naming it"
        build(workload(4, 65536, 2048), algorithm="auto")
    assert built == [1, 1]
