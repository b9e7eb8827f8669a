"""Every candidate of latent attention on a real GPU: right in all cases, eager and captured, or told why not.

New modules compile: about a minute at the first run.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.mla.problem import MlaProblem, cases, make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels" / "mla"))
from mla_cases import shortened

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

GEOMETRIES: dict[str, dict[str, Any]] = {
    "deepseek-v3": {"num_heads": 128},
    "deepseek-v3 tp 8": {"num_heads": 16},
    "kimi-k2 tp 8": {"num_heads": 8},
    "glm-5": {"num_heads": 64, "qk_nope_head_dim": 192, "v_head_dim": 256},
    "fp8 cache": {"num_heads": 16, "kv_dtype": "float8_e4m3fn"},
    "float16": {"num_heads": 16, "dtype": "float16"},
}
SHAPES: dict[str, dict[str, int]] = {
    "attention.mla_decode": {"batch": 8, "context": 3000},
    "attention.mla_prefill": {"batch": 3, "new": 700, "context": 700},
    "attention.mla_extend": {"batch": 4, "new": 200, "context": 1500},
    # Requests with fewer tokens than are selected, and with more.
    "attention.mla_sparse_decode": {"batch": 8, "context": 3000, "index_topk": 2048},
}


@functools.cache
def device() -> Device:
    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


def workload(operation: str, mode: str, geometry: str, **changes: Any) -> MlaWorkload:
    shared = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    latent = shared | GEOMETRIES[geometry]
    fields: dict[str, Any] = {"operation": operation, "mode": mode, "latent": latent, "served_context": 8192}
    return MlaWorkload.model_validate(fields | SHAPES[operation] | changes)


def run_of(backend: Backend, candidate: Candidate, problem: Any) -> Any:
    prepared = backend.prepare(problem, **dict(candidate.knobs))
    return prepared.run if isinstance(prepared, Prepared) else prepared


def launch(backend: Backend, candidate: Candidate, problem: Any) -> Verdict:
    """Run once, then once more into poisoned outputs: by a launch, or by a replay where the problem is for graphs."""
    run = run_of(backend, candidate, problem)
    output = run()
    torch.cuda.synchronize()
    if problem.graph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()
        output.fill_(float("nan"))
        graph.replay()
    else:
        output.fill_(float("nan"))
        output = run()
    torch.cuda.synchronize()
    verdict: Verdict = problem.check(output)
    return verdict


def supported(shape: MlaWorkload, backend: Backend) -> list[Candidate]:
    found = []
    for candidate in backend.candidates(shape, device()):
        reason = backend.why_unsupported(shape, device(), candidate)
        if reason is None:
            found.append(candidate)
        else:
            assert len(reason) > 10
    return found


def failures(shape: MlaWorkload, backend: Backend) -> dict[str, str]:
    """What went wrong, by candidate and case."""
    found: dict[str, str] = {}
    for case in cases(shape):
        problem = make_problem(shape, case, "cuda", 7)
        for candidate in supported(shape, backend):
            if backend.build is not None:
                backend.build(shape, **dict(candidate.knobs))
            before = sums(problem)
            try:
                verdict = launch(backend, candidate, problem)
            except Exception as error:
                found[f"{candidate.key} {case}"] = f"{type(error).__name__}: {error}"
                continue
            if not verdict.ok:
                found[f"{candidate.key} {case}"] = f"{verdict.measure} {verdict.error:.3g}: {verdict.message}"
            after = sums(problem)
            # Pages are made on demand: of what was there, nothing has changed.
            if any(after[name] != total for name, total in before.items()):
                found[f"{candidate.key} {case}"] = "changed its inputs"
        del problem
        torch.cuda.empty_cache()
    return found


def sums(problem: Any) -> dict[str, float]:
    """Of each input, by its name."""
    return {name: tensor.double().sum().item() for name, tensor in problem.inputs().items()}


def names() -> list[tuple[str, str]]:
    return [(operation, backend.name) for operation in SHAPES for backend in REGISTRY.of(operation)]


# A prefill's modules are each minutes of compiling, and it has no cache.
PLAIN = ("deepseek-v3", "deepseek-v3 tp 8", "glm-5")
CASES = [
    (operation, name, geometry)
    for operation, name in names()
    for geometry in GEOMETRIES
    if operation != "attention.mla_prefill" or geometry in PLAIN
]


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(("operation", "name", "geometry"), CASES)
def test_every_candidate_is_right(operation: str, name: str, geometry: str, mode: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    assert failures(workload(operation, mode, geometry), backend) == {}


@pytest.mark.parametrize("name", [name for operation, name in names() if operation == "attention.mla_prefill"])
def test_a_plain_prefill_on_a_prefix(name: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    shape = workload("attention.mla_prefill", "eager", "deepseek-v3 tp 8", new=200, context=1500)
    assert failures(shape, backend) == {}


@pytest.mark.parametrize("operation", SHAPES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_who_races_on_hopper(operation: str, mode: str) -> None:
    """They aren't passed over with a reason alone: these kernels run. CUTLASS's says what it needs."""
    if device().capability != (9, 0):
        pytest.skip("what is compiled for other GPUs differs")
    shape = workload(operation, mode, "deepseek-v3 tp 8")
    runs = [candidate.key for backend in REGISTRY.of(operation) for candidate in supported(shape, backend)]
    words = ["flashinfer.mla(path=fa2", "flashinfer.mla(path=fa3", "sgl_kernel.fa3_mla("]
    if operation == "attention.mla_decode":
        words.append("sgl_kernel.flashmla")
    if operation == "attention.mla_sparse_decode":
        words = ["sgl_kernel.fa3_mla_sparse", "sgl_kernel.flashmla_sparse"]
    if operation == "attention.mla_prefill":
        words = ["flashinfer.mla_ragged(path=fa2", "flashinfer.mla_ragged(path=fa3", "sgl_kernel.fa3_mla_ragged"]
    for word in words:
        assert any(key.startswith(word) for key in runs), (word, runs)
    assert not any("cutlass" in key for key in runs)


@pytest.mark.parametrize("name", ["flashinfer.mla", "sgl_kernel.fa3_mla", "sgl_kernel.flashmla"])
def test_a_captured_graph_serves_the_same_batch_at_other_lengths(name: str) -> None:
    """Metadata is filled in place: planned for shorter requests, the graph that was captured computes those."""
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    shape = workload("attention.mla_decode", "graph", "deepseek-v3 tp 8")
    for candidate in supported(shape, backend):
        if backend.build is not None:
            backend.build(shape, **dict(candidate.knobs))
        problem = make_problem(shape, "workload", "cuda", 7)
        prepared = backend.prepare(problem, **dict(candidate.knobs))
        assert isinstance(prepared, Prepared)
        assert prepared.plan is not None
        prepared.run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = prepared.run()
        assert isinstance(problem, MlaProblem)
        other = shortened(problem)
        prepared.plan()
        output.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        verdict = other.check(output)
        assert verdict.ok, (candidate.key, verdict.message)
        assert not problem.check(output).ok


@pytest.mark.parametrize("operation", SHAPES)
def test_reference_agrees_with_the_cpus(operation: str) -> None:
    problem = make_problem(workload(operation, "eager", "kimi-k2 tp 8"), "edges", "cuda", 7)
    exact = problem.reference
    for name in ("q", "k", "v") if operation == "attention.mla_prefill" else ("q_nope", "q_pe", "_tokens"):
        setattr(problem, name, getattr(problem, name).cpu())
    if operation == "attention.mla_sparse_decode":
        problem.selected = problem.selected.cpu()  # type: ignore[union-attr]
    del problem.__dict__["reference"]
    wide = problem.reference
    assert torch.allclose(exact.out.cpu().double(), wide.out, rtol=1e-4, atol=1e-5)
    assert torch.allclose(exact.lse.cpu().double(), wide.lse, rtol=1e-4, atol=1e-4)
