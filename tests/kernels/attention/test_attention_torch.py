"""Every torch candidate is right on a CPU, in every case."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, workload

from autotune_cli.kernels.attention.problem import cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, Prepared

CPU = Device("cpu", "a CPU")
HEADS = [(2, 2, 64), (6, 2, 96), (4, 1, 128), (4, 2, 256)]
EXTRAS = [{}, {"window_left": 40}, {"softcap": 30.0}, {"kv_dtype": "float8_e4m3fn"}]
ONLY_EAGER = [{"sinks": True}, {"sinks": True, "window_left": 40} | FP8_QUERIES, {"softcap": 30.0} | FP8_QUERIES]


def candidates(shape: AttentionWorkload) -> list[tuple[Candidate, str | None]]:
    """Candidates that can run on a CPU, with the reason why one can't take the workload."""
    found = []
    for backend in REGISTRY.of(shape.operation):
        for candidate in backend.candidates(shape, CPU):
            if "cpu" in backend.devices:
                found.append((candidate, backend.why_unsupported(shape, CPU, candidate)))
    return found


def run(shape: AttentionWorkload, candidate: Candidate, case: str) -> None:
    made = make_problem(shape, case, "cpu", 11)
    prepared = REGISTRY.get(candidate.backend).prepare(made, **dict(candidate.knobs))
    assert isinstance(prepared, Prepared)
    held = [tensor.clone() for tensor in made.inputs().values()]
    prepared.run().fill_(float("nan"))
    verdict = made.check(prepared.run())
    assert verdict.ok, (candidate.key, case, verdict)
    for before, after in zip(held, made.inputs().values(), strict=False):
        assert torch.equal(before.float(), after.float())


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("extra", [*EXTRAS, FP8_QUERIES, *ONLY_EAGER], ids=str)
def test_geometries(operation: str, heads: tuple[int, int, int], extra: dict[str, Any]) -> None:
    qo, kv, dim = heads
    shape = workload(operation, num_qo_heads=qo, num_kv_heads=kv, head_dim=dim, **extra)
    ran = 0
    for candidate, reason in candidates(shape):
        if reason is not None:
            assert "softcap" in reason or "sinks" in reason
            assert extra in ONLY_EAGER or "softcap" in extra
            continue
        for case in cases(shape):
            run(shape, candidate, case)
        ran += 1
    assert ran


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes(operation: str, dtype: str) -> None:
    shape = workload(operation, dtype=dtype, window_left=40)
    for candidate, reason in candidates(shape):
        assert reason is None
        for case in cases(shape):
            run(shape, candidate, case)


def test_math_is_not_tried_when_its_scores_would_not_fit() -> None:
    shape = workload("attention.prefill", num_qo_heads=32, num_kv_heads=8)
    large = shape.model_copy(update={"new": 65536, "context": 65536})
    reasons = {candidate.key: reason for candidate, reason in candidates(large)}
    assert "GiB" in str(reasons["torch.sdpa(kernel=math)"])
    assert reasons["torch.sdpa(kernel=flash)"] is None
