"""FlashInfer's paged prefill, computed by torch from what it is given: batches padded, narrowed and cut."""

from __future__ import annotations

from typing import Any

import fake_cuda
import pytest
import torch
from recording_cases import EXTEND, PAGE_SIZES, problem

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Candidate, Prepared
from autotune_cli.profiling.recording import inject
from autotune_cli.profiling.recording.batches import narrowed, part
from autotune_cli.profiling.recording.inject import injected
from autotune_cli.profiling.recording.padded import Padded
from autotune_cli.profiling.recording.step import prepared
from autotune_cli.profiling.request import INJECTED

GEOMETRIES: list[dict[str, Any]] = [{}, {"window_left": 20}, {"kv_dtype": "float8_e4m3fn"}]


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)


def paged(made: AttentionProblem, page_size: int) -> Prepared:
    return prepared(Candidate("flashinfer.paged", (("path", "fa2"), ("page_size", page_size))), made)


@pytest.mark.parametrize("values", GEOMETRIES, ids=str)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_real_rows_are_those_of_the_batch_without_padding(page_size: int, values: dict[str, Any]) -> None:
    made = problem(**values)
    real = made.q.shape[0]
    plain = paged(made, page_size).run().clone()
    assert made.check(plain).ok
    static = torch.zeros(real + 17, 4, 64, dtype=made.dtype)
    padded = Padded(made, static, page_size, pool=len(EXTEND.qo))
    ready = paged(padded.batch, page_size)
    static[:real] = made.q
    assert torch.equal(ready.run()[:real], plain)
    # The fake request's own rows see a key each: finite, whatever the scratch page holds.
    assert bool(ready.run().isfinite().all())
    # Planned again, as for the next batch.
    assert ready.plan is not None
    padded.write()
    ready.plan()
    assert torch.equal(ready.run()[:real], plain)


@pytest.mark.parametrize("values", GEOMETRIES, ids=str)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_it_is_planned_from_the_buffers(page_size: int, values: dict[str, Any]) -> None:
    """Garbage in them must show: otherwise nothing is known of what is checked in them."""
    made = problem(**values)
    real = made.q.shape[0]
    static = torch.zeros(real + 3, 4, 64, dtype=made.dtype)
    padded = Padded(made, static, page_size, pool=len(EXTEND.qo))
    ready = paged(padded.batch, page_size)
    static[:real] = made.q
    padded._buffers.kv_indices[:7] = 0
    assert ready.plan is not None
    ready.plan()
    assert not made.check(ready.run()[:real]).ok
    padded.write()
    ready.plan()
    assert made.check(ready.run()[:real]).ok


def test_a_narrowed_batch_reads_the_static_rows() -> None:
    made = problem()
    real = made.q.shape[0]
    static = torch.full((64, 4, 64), float("nan"), dtype=made.dtype)
    ready = paged(narrowed(made, static), 1)
    static[:real] = made.q
    assert ready.run().shape[0] == real
    assert torch.equal(ready.run(), paged(made, 1).run())


@pytest.mark.parametrize("values", GEOMETRIES, ids=str)
def test_every_second_request_alone(values: dict[str, Any]) -> None:
    made = problem(**values)
    whole = paged(made, 16).run()
    view, rows = part(made, range(0, len(EXTEND.qo), 2), 16)
    assert torch.equal(paged(view, 16).run(), whole[rows])


@pytest.mark.parametrize("family", INJECTED)
@pytest.mark.parametrize("has_heads", [True, False], ids=["attention", "selection"])
def test_an_injected_kernel_has_the_problems_heads(
    monkeypatch: pytest.MonkeyPatch, family: Any, has_heads: bool
) -> None:
    """A selection has none: then eight of 128."""
    asked: list[Any] = []
    given = problem(kv_dtype="float8_e4m3fn") if has_heads else object()
    randn = torch.randn

    def drawn(shape: tuple[int, ...], device: str) -> torch.Tensor:
        asked.append((device, shape[1], shape[3]))
        return randn(shape)

    def made(workload: AttentionWorkload, lengths: Any, device: str, seed: int) -> AttentionProblem:
        asked.append((device, workload.geometry.num_qo_heads, workload.geometry.head_dim))
        assert workload.geometry.kv_dtype is None
        return AttentionProblem(workload, lengths, "cpu", seed)

    if family == "dense":
        monkeypatch.setattr(inject.torch, "randn", drawn)
    monkeypatch.setattr(inject, "AttentionProblem", made)
    candidates: list[str] = []
    real = inject.prepared
    monkeypatch.setattr(inject, "prepared", lambda one, two: candidates.append(one.key) or real(one, two))
    output = injected(family, given)()
    assert set(asked) == {("cuda", *((4, 64) if has_heads else (8, 128)))}
    assert bool(output.isfinite().all())
    assert candidates == ([] if family == "dense" else ["flashinfer.ragged(path=fa2)"])
