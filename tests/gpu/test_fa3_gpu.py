"""FlashAttention-3 on a real GPU: captured once and right at every length, and raced against FlashInfer.

FlashInfer's modules for softcaps, windows and sinks compile at the first run: minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import Autotune

from autotune_cli.kernels.attention.problem import AttentionProblem, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Prepared
from autotune_cli.results.schema import FAILED, MEASURED

FA3 = REGISTRY.get("sgl_kernel.fa3")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.skipif(FA3.missing() is not None, reason=f"sgl_kernel is not installed: {FA3.install}"),
]

CONTEXT = 2048


def exact(problem: AttentionProblem) -> torch.Tensor:
    """[requests, keys, heads, head dim] float64: the output of each request's query over its first 1, 2 ... keys."""
    g = problem.geometry
    outs = []
    for request in range(len(problem.lengths.kv)):
        span = slice(request * CONTEXT, (request + 1) * CONTEXT)
        keys, values = (part[span].double().repeat_interleave(g.group, 1) for part in (problem._keys, problem._values))
        scores = torch.einsum("hd,khd->kh", problem.q[request].double(), keys) * g.scale
        weights = (scores - scores.amax(0)).exp()[..., None]
        outs.append((weights * values).cumsum(0) / weights.cumsum(0))
    return torch.stack(outs)


@pytest.mark.parametrize("page_size", [1, 64])
@pytest.mark.parametrize("num_splits", [0, 4])
@pytest.mark.parametrize("scheduler_metadata", [True, False])
def test_a_capture_is_right_at_every_length(page_size: int, num_splits: int, scheduler_metadata: bool) -> None:
    """Captured for the longest context. Slots behind a length hold values that ruin the output if they are read."""
    workload = AttentionWorkload(
        operation="attention.decode", geometry=Geometry(num_qo_heads=8, num_kv_heads=2, head_dim=128), batch=2,
        context=CONTEXT, mode="graph", spread="even", served_context=8 * CONTEXT,
    )  # fmt: skip
    problem = make_problem(workload, "workload", "cuda", 7)
    prepared = FA3.prepare(problem, page_size=page_size, num_splits=num_splits, scheduler_metadata=scheduler_metadata)
    assert isinstance(prepared, Prepared)
    prepared.run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = prepared.run()
    pages, wanted, counts = problem.paged(page_size), exact(problem), torch.arange(CONTEXT, device="cuda")
    errors = []
    for length in range(1, CONTEXT + 1):
        lengths = torch.tensor([length, CONTEXT + 1 - length], dtype=torch.int32, device="cuda")
        pages.seq_lens.copy_(lengths)
        if prepared.plan is not None:
            prepared.plan()
        output.fill_(float("nan"))
        graph.replay()
        right = wanted[counts[:2], lengths.long() - 1]
        errors.append((output.double() - right).norm() / right.norm())
    worst = torch.stack(errors)
    assert bool(torch.isfinite(worst).all())
    assert float(worst.max()) < 1e-2, f"length {int(worst.argmax()) + 1}: {float(worst.max()):.3g}"


# Empty: a config.json that the test writes, as the catalogue has no model whose layers are all windowed.
VARIANTS: dict[str, list[str]] = {
    "plain": ["--model", "llama-3.1-8b"],
    "FP8": ["--model", "llama-3.1-8b", "--kv-dtype", "float8_e4m3fn"],
    "sinks and window": ["--model", "gpt-oss-120b"],
    "window": [],
    "softcap and window": ["--model", "gemma-2-9b"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_fa3_races_flashinfer(autotune: Autotune, tmp_path: Path, variant: str) -> None:
    model = VARIANTS[variant]
    if not model:
        config = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
        path = tmp_path / "window.json"
        path.write_text(json.dumps(config | {"num_hidden_layers": 32, "sliding_window": 4096}))
        model = ["--config", str(path)]
    shapes = ["--batch", "4", "--context", "6000", "--new", "300", "--op", "decode,extend", "--mode", "both"]
    libraries = ["--backend", "sgl_kernel,flashinfer", "--rounds", "3"]
    done = autotune("tune", "--no-cache", "--json", *model, *shapes, *libraries)
    assert done.code == 0, done.err
    wrong: dict[str, Any] = {}
    for result in done.run.workloads:
        for candidate in result.candidates:
            if candidate.status in FAILED:
                wrong[f"{result.key}: {candidate.key}"] = candidate.reason
        measured = {candidate.backend.split(".")[0] for candidate in result.candidates if candidate.status in MEASURED}
        assert {"sgl_kernel", "flashinfer"} <= measured, result.key
        default = result.baseline()
        assert default is not None
        assert (default.name, default.backend, default.missing) == ("sglang", "fa3", None)
        assert default.speedup is not None
        assert default.speedup >= 1.0 or (default.speedup_interval or (0, 0))[1] >= 1.0
    assert wrong == {}
