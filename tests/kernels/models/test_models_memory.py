"""What the workloads of a suite need of a GPU's memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.kernels.models import build_suite
from autotune_cli.kernels.models.options import MOST


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 64), st.integers(2, 5000), st.sampled_from(["decode", "prefill", "extend"]))
def test_memory_covers_what_a_kernel_must_move(batch: int, context: int, operation: str) -> None:
    (workload,) = build_suite("llama-3.1-8b", "cuda", operations=operation, batches=batch, contexts=context).workloads
    least = memory_bytes(workload, page_layouts=0)
    assert least >= cost(workload).bytes
    assert memory_bytes(workload, page_layouts=1) < memory_bytes(workload)


def test_memory_of_absurd_workloads_draws_no_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million of them would take seconds."""
    suite = build_suite("llama-3.1-8b", "cuda", operations="decode", batches=MOST, contexts=MOST)

    def drawn(self: AttentionWorkload) -> Any:
        raise AssertionError("lengths were drawn")

    monkeypatch.setattr(AttentionWorkload, "lengths", property(drawn))
    assert memory_bytes(suite.workloads[0]) > 10**17


def test_memory_of_a_decode_is_about_right() -> None:
    (workload,) = build_suite("llama-3.1-8b", "cuda", operations="decode", batches=64, contexts=8192).workloads
    cache = 64 * 8192 * 0.75 * 8 * 128 * 2 * 2
    # Once as drawn, once in each page layout, once gathered by torch.
    assert 6.5 * cache < memory_bytes(workload) < 8 * cache
