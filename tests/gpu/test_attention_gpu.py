"""Every attention candidate on a real GPU: right in all cases, eager and captured, or unsupported with a reason.

New geometries compile: minutes at the first run.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from autotune_cli.kernels.attention.problem import AttentionProblem, cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

FP8_QUERIES = {"kv_dtype": "float8_e4m3fn", "q_dtype": "float8_e4m3fn"}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "llama": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128},
    "mqa": {"num_qo_heads": 8, "num_kv_heads": 1, "head_dim": 128},
    "group of 7": {"num_qo_heads": 28, "num_kv_heads": 4, "head_dim": 128},
    "fp8 cache": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, "kv_dtype": "float8_e4m3fn"},
    "fp8 queries": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, **FP8_QUERIES},
    # gpt-oss-120b's full and windowed layers.
    "sinks": {"num_qo_heads": 64, "num_kv_heads": 8, "head_dim": 64, "sinks": True},
    "sinks in a window": {"num_qo_heads": 64, "num_kv_heads": 8, "head_dim": 64, "sinks": True, "window_left": 127},
}
# Each is another build of every module.
VARIANTS: dict[str, dict[str, Any]] = {
    "window": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, "window_left": 127},
    "softcap": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, "softcap": 30.0},
    "fp8 queries in a window": {
        "num_qo_heads": 32,
        "num_kv_heads": 8,
        "head_dim": 128,
        "window_left": 127,
        **FP8_QUERIES,
    },
    "fp8 queries, softcap": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, "softcap": 30.0, **FP8_QUERIES},
    "fp8 queries, head dim 64": {"num_qo_heads": 64, "num_kv_heads": 8, "head_dim": 64, **FP8_QUERIES},
    "fp8 queries, head dim 256": {"num_qo_heads": 16, "num_kv_heads": 8, "head_dim": 256, **FP8_QUERIES},
    "sinks, fp8 queries": {"num_qo_heads": 64, "num_kv_heads": 8, "head_dim": 64, "sinks": True, **FP8_QUERIES},
    "sinks, head dim 128": {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128, "sinks": True},
}
SHAPES: dict[str, dict[str, int]] = {
    "attention.decode": {"batch": 8, "context": 3000},
    "attention.prefill": {"batch": 3, "new": 700, "context": 700},
    "attention.extend": {"batch": 4, "new": 200, "context": 1500},
}


# Drafts to verify: trees, and chains of 4.
VERIFY: dict[str, dict[str, int]] = {
    "trees": {"batch": 4, "new": 8, "context": 1500, "eagle_topk": 4},
    "chains": {"batch": 4, "new": 4, "context": 1500, "eagle_topk": 1},
}


@functools.cache
def device() -> Device:
    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


def workload(operation: str, mode: str, geometry: dict[str, Any]) -> AttentionWorkload:
    fields = {"operation": operation, "mode": mode, "geometry": geometry, **SHAPES[operation]}
    return AttentionWorkload.model_validate(fields)


def poison(output: Any) -> None:
    for tensor in output if isinstance(output, tuple) else (output,):
        tensor.fill_(float("nan"))


def launch(backend: Backend, candidate: Candidate, problem: AttentionProblem) -> Verdict:
    """Run once, then once more into poisoned outputs: by a launch, or by a replay where the problem is for graphs."""
    prepared = backend.prepare(problem, **dict(candidate.knobs))
    run = prepared.run if isinstance(prepared, Prepared) else prepared
    output = run()
    torch.cuda.synchronize()
    if problem.graph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()
        poison(output)
        graph.replay()
    else:
        poison(output)
        output = run()
    torch.cuda.synchronize()
    return problem.check(output)


def sums(problem: AttentionProblem) -> dict[str, float]:
    """Of what was asked for so far; a candidate may ask for more."""
    return {name: tensor.double().sum().item() for name, tensor in problem.inputs().items()}


def failures(shape: AttentionWorkload, backend: Backend) -> dict[str, str]:
    """What went wrong, by candidate and case."""
    found: dict[str, str] = {}
    for case in cases(shape):
        problem = make_problem(shape, case, "cuda", 7)
        for candidate in backend.candidates(shape, device()):
            reason = backend.why_unsupported(shape, device(), candidate)
            if reason is not None:
                assert len(reason) > 10
                continue
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
            if any(after[name] != total for name, total in before.items()):
                found[f"{candidate.key} {case}"] = "changed its inputs"
        del problem
        torch.cuda.empty_cache()
    return found


def names() -> list[tuple[str, str]]:
    return [(operation, backend.name) for operation in SHAPES for backend in REGISTRY.of(operation)]


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(("operation", "name"), names())
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_candidate_is_right(operation: str, name: str, geometry: str, mode: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    assert failures(workload(operation, mode, GEOMETRIES[geometry]), backend) == {}


@pytest.mark.parametrize(("operation", "name"), names())
@pytest.mark.parametrize("variant", VARIANTS)
def test_windows_and_softcaps(operation: str, name: str, variant: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    assert failures(workload(operation, "eager", VARIANTS[variant]), backend) == {}


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("name", [backend.name for backend in REGISTRY.of("attention.verify")])
@pytest.mark.parametrize("geometry", ["llama", "group of 7", "fp8 queries", "sinks in a window", "window"])
@pytest.mark.parametrize("drafts", VERIFY)
def test_drafts_are_verified(drafts: str, name: str, geometry: str, mode: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    layer = (GEOMETRIES | VARIANTS)[geometry]
    fields = {"operation": "attention.verify", "mode": mode, "geometry": layer, **VERIFY[drafts]}
    assert failures(AttentionWorkload.model_validate(fields), backend) == {}


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("name", [backend.name for backend in REGISTRY.of("attention.cross")])
@pytest.mark.parametrize("geometry", ["llama", "fp8 queries"])
def test_new_tokens_on_an_encoders_keys(name: str, geometry: str, mode: str) -> None:
    backend = REGISTRY.get(name)
    if missing := backend.missing():
        pytest.skip(f"{missing} is not installed: {backend.install}")
    shape = {"operation": "attention.cross", "mode": mode, "batch": 3, "new": 100, "context": 1601}
    assert failures(AttentionWorkload.model_validate(shape | {"geometry": GEOMETRIES[geometry]}), backend) == {}


@pytest.mark.parametrize("operation", SHAPES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_who_races_on_hopper(operation: str, mode: str) -> None:
    """FP8 queries and sinks aren't passed over with a reason alone: these kernels run."""
    if device().capability != (9, 0):
        pytest.skip("what is compiled for other GPUs differs")
    if missing := REGISTRY.get("flashinfer.sink").missing():
        pytest.skip(f"{missing} is not installed")
    fp8, sunk = workload(operation, mode, GEOMETRIES["fp8 queries"]), workload(operation, mode, GEOMETRIES["sinks"])
    for shape, words in (
        (fp8, "fa3"),
        (fp8, "fa2"),
        (sunk, "flashinfer.sink(path=fa2"),
        (sunk, "flashinfer.sink(path=fa3"),
    ):
        runs = [
            candidate.key
            for backend in REGISTRY.of(operation)
            if not backend.missing() and backend.name.startswith("flashinfer")
            for candidate in backend.candidates(shape, device())
            if backend.why_unsupported(shape, device(), candidate) is None
        ]
        assert any(words in key.replace("tensor_cores", "fa2") for key in runs), (words, runs)


@pytest.mark.parametrize("operation", SHAPES)
@pytest.mark.parametrize(
    "extra", [{}, {"window_left": 127}, {"softcap": 30.0}, FP8_QUERIES, {"sinks": True, "window_left": 127}], ids=str
)
def test_reference_agrees_with_the_cpus(operation: str, extra: dict[str, Any]) -> None:
    shape = workload(operation, "eager", {"num_qo_heads": 8, "num_kv_heads": 2, "head_dim": 64} | extra)
    problem = make_problem(shape, "edges", "cuda", 7)
    exact = problem.reference
    for name in ("q", "_keys", "_values", *(["sinks"] if "sinks" in extra else [])):
        setattr(problem, name, getattr(problem, name).cpu())
    del problem.__dict__["reference"]
    wide = problem.reference
    assert torch.allclose(exact.out.cpu().double(), wide.out, rtol=1e-4, atol=1e-5)
    assert torch.allclose(exact.lse.cpu().double(), wide.lse, rtol=1e-4, atol=1e-4)
