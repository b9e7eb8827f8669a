"""Captured once, replayed at several lengths on a real GPU. FlashInfer's modules compile at the first run: minutes."""

from __future__ import annotations

import pytest
import torch
from running import Autotune

from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.results.schema import FAILED, MEASURED

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize(
    ("model", "operation"),
    [("llama-3.1-8b", "decode"), ("gpt-oss-120b", "decode"), ("deepseek-v3 --tp 8", "mla_decode")],
)
def test_every_candidate_is_right_at_every_length_of_a_capture(autotune: Autotune, model: str, operation: str) -> None:
    """gpt-oss has windows and sinks, deepseek-v3 latent attention. Lengths on both sides of the window, of pages and of
    every split.
    """
    lengths = (1, 100, 1500, 6000, 16000)
    (autotune.root / "served.txt").write_text("\n".join(map(str, lengths)))
    options = ["--op", operation, "--mode", "graph", "--batch", "1,8", "--lengths", "served.txt", "--rounds", "3"]
    done = autotune("tune", "--no-cache", "--json", "--model", *model.split(), *options)
    assert done.code == 0, done.err
    wrong = {}
    for result in done.run.workloads:
        assert [point.context for point in result.workload.length_points] == list(lengths)
        measured = set()
        for candidate in result.candidates:
            if candidate.status in FAILED:
                wrong[f"{result.key}: {candidate.key}"] = candidate.reason
            if candidate.status in MEASURED:
                cases = [case.case for case in candidate.evidence]
                assert cases == ["workload", *(f"workload {length}" for length in lengths), "edges"]
                # Of FlashInfer's plans only those of a version that is known say it.
                assert candidate.frozen or candidate.backend.startswith("flashinfer."), candidate.key
                assert len(candidate.points_us) == len(candidate.rounds)
                measured.add(candidate.backend)
            if candidate.backend in ("torch.sdpa", "torch.mla"):
                assert candidate.status == "unsupported"
        here = {backend.name for backend in REGISTRY.of(f"attention.{operation}") if backend.missing() is None}
        assert {"triton.decode", "sgl_kernel.flashmla"} & here <= measured
    assert wrong == {}
