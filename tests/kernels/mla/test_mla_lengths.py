"""A decode step of latent attention that is prepared once, for the longest lengths, and refilled at others."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import mla_emulator
import pytest
import torch
from mla_cases import workload
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parents[1] / "attention"))

from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.kernels.mla.problem import MlaProblem, make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.models import build_suite, load_model
from autotune_cli.kernels.registry import REGISTRY, Device, Prepared

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))

GPUS = {9: Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132), 10: Device("cuda", "NVIDIA B200", (10, 0), 148)}
CPU = Device("cpu", "CPU")
POINTS = (LengthPoint(context=17), LengthPoint(context=65, weight=2), LengthPoint(context=90))


def lengths_workload(mode: str = "eager", **latent: Any) -> MlaWorkload:
    shape = workload("decode", **latent)
    return MlaWorkload(**{**shape.model_dump(), "mode": mode, "points": POINTS, "served_context": 200})


def problem(mode: str = "eager", **latent: Any) -> MlaProblem:
    made = make_problem(lengths_workload(mode, **latent), "workload", "cpu", 7)
    assert isinstance(made, MlaProblem)
    return made


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    mla_emulator.install_flashinfer(monkeypatch)
    # No 384 MiB of zeros for each candidate.
    monkeypatch.setattr("autotune_cli.kernels.mla.backends._flashinfer.WORKSPACE", 1 << 20)
    return mla_emulator.install_sgl_kernel(monkeypatch)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    ("device", "backend"),
    [
        (GPUS[9], "flashinfer.mla"),
        (GPUS[9], "sgl_kernel.fa3_mla"),
        (GPUS[9], "sgl_kernel.flashmla"),
        (GPUS[10], "sgl_kernel.cutlass_mla"),
        (CPU, "torch.mla"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_candidate_is_right_at_every_length(libraries: Any, device: Device, backend: str, mode: str) -> None:
    """In an order that goes down and up; a new plan of the same step changes nothing."""
    made = problem(mode)
    found = list(REGISTRY.get(backend).candidates(made.workload, device))
    assert found
    before = {name: tensor.clone() for name, tensor in made.inputs().items()}
    for candidate in found:
        ready = REGISTRY.get(backend).prepare(made, **dict(candidate.knobs))
        assert isinstance(ready, Prepared)
        if (backend, mode) == ("torch.mla", "graph"):
            assert ready.refill is None
            continue
        assert ready.refill is not None
        assert ready.frozen or backend == "torch.mla"
        for point in (POINTS[0], POINTS[2], POINTS[1]):
            other = made.at(point)
            ready.refill(other)
            for again in (False, True):
                if again and ready.plan is not None and backend != "flashinfer.mla":
                    ready.plan()
                verdict = other.check(ready.run())
                assert verdict.ok, (candidate.key, point.context, verdict.message)
            # Not for the wrong reason.
            assert point == POINTS[2] or not made.check(ready.run()).ok
    for name, tensor in before.items():
        assert torch.equal(made.inputs()[name].view(torch.uint8), tensor.view(torch.uint8)), name


def test_the_tensors_of_a_capture_stay(libraries: Any) -> None:
    made = problem("graph")
    ready = REGISTRY.get("sgl_kernel.fa3_mla").prepare(made, page_size=64, num_splits=0, scheduler_metadata=True)
    assert isinstance(ready, Prepared)
    assert ready.refill is not None
    assert ready.frozen == (
        "a bound on the splits, for a table of 256 keys; each request's own are counted on the device"
    )
    ready.run()
    first = libraries.calls["flash_attn_with_kvcache"][-1]
    ready.refill(made.at(POINTS[0]))
    ready.run()
    call = libraries.calls["flash_attn_with_kvcache"][-1]
    for name in ("page_table", "cache_seqlens", "scheduler_metadata"):
        assert call[name] is first[name]
    assert call["cache_seqlens"].tolist() == list(made.workload.lengths_at(17).kv)
    # What the server knows of the step on the host.
    assert libraries.calls["get_scheduler_metadata"][-1]["max_seqlen_k"] == max(made.workload.lengths_at(17).kv)


LAUNCHES = ("flash_attn_with_kvcache", "flash_mla_with_kvcache", "cutlass_mla_decode")


@pytest.mark.parametrize(
    ("device", "backend"),
    [(GPUS[9], "sgl_kernel.fa3_mla"), (GPUS[9], "sgl_kernel.flashmla"), (GPUS[10], "sgl_kernel.cutlass_mla")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_replay_moves_what_a_graph_holds(libraries: Any, device: Device, backend: str) -> None:
    """Fault: a replay put another tensor in the place of one that the captured kernels read, be it only the second
    replay. Put back: give ``arguments`` in a ``plan`` or ``refill`` of a backend a new tensor, in every call or one.
    """
    made = problem("graph")
    for candidate in REGISTRY.get(backend).candidates(made.workload, device):
        ready = REGISTRY.get(backend).prepare(made, **dict(candidate.knobs))
        assert isinstance(ready, Prepared)
        assert ready.refill is not None
        assert ready.plan is not None
        held: dict[str, int] = {}
        for point in (None, POINTS[0], POINTS[2], POINTS[1], POINTS[0], None):
            if point is None:
                ready.plan()
            else:
                ready.refill(made.at(point))
            libraries.calls.clear()
            ready.run()
            (call,) = (call for name in LAUNCHES for call in libraries.calls.get(name, ()))
            places = {name: value.data_ptr() for name, value in call.items() if isinstance(value, torch.Tensor)}
            held = held or places
            assert places == held, (candidate.key, point)


def test_no_replay_makes_another_wrapper_of_flashinfer(libraries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back: make a new wrapper in the ``refill`` of ``flashinfer_mla``."""
    import flashinfer.mla

    kind: Any = flashinfer.mla.BatchMLAPagedAttentionWrapper
    wrappers: list[Any] = []

    def wrapper(**named: Any) -> Any:
        wrappers.append(kind(**named))
        return wrappers[-1]

    monkeypatch.setattr(flashinfer.mla, "BatchMLAPagedAttentionWrapper", wrapper)
    made = problem("graph")
    for candidate in REGISTRY.get("flashinfer.mla").candidates(made.workload, GPUS[9]):
        wrappers.clear()
        ready = REGISTRY.get("flashinfer.mla").prepare(made, **dict(candidate.knobs))
        assert isinstance(ready, Prepared)
        assert ready.refill is not None
        place = ready.run().data_ptr()
        for point in POINTS:
            ready.refill(made.at(point))
            assert ready.run().data_ptr() == place
        assert len(wrappers) == 1


def test_at_shorter_lengths_the_first_tokens_count_in_the_same_pages() -> None:
    made = problem(kv_dtype="float8_e4m3fn")
    other = made.at(POINTS[0])
    whole, cut = made.paged(16), other.paged(16)
    assert cut.pool is whole.pool
    assert [len(table) for table in cut.tables] == [-(-tokens // 16) for tokens in other.lengths.kv]
    assert all(torch.equal(part, table[: len(part)]) for part, table in zip(cut.tables, whole.tables, strict=True))
    assert other.reference is made.at(POINTS[0]).reference
    assert other.reference is not made.reference
    moved = made.moved().at(POINTS[0])
    assert moved.reference is other.reference
    assert moved.paged(16).pool is not whole.pool


def test_names_costs_and_memory() -> None:
    shape = lengths_workload()
    assert shape.key == "attention.mla_decode 3 x 17..90 lengths 17,65*2,90 eager h4 mla 512+64 d128 bfloat16"
    assert shape.cells == ("3", "≤17..90")
    single = [shape.model_copy(update={"context": context, "points": ()}) for context in (17, 65, 65, 90)]
    assert cost(shape).bytes == pytest.approx(sum(cost(each).bytes for each in single) / 4)
    assert cost(shape).flops == pytest.approx(sum(cost(each).flops for each in single) / 4)
    assert memory_bytes(shape) > memory_bytes(single[-1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"operation": "attention.mla_extend", "new": 7}, "only a dense decode step"),
        ({"operation": "attention.mla_sparse_decode", "index_topk": 8}, "only a dense decode step"),
        ({"context": 91}, "ascending order, the last one the context"),
        ({"points": POINTS[::-1]}, "ascending order, the last one the context"),
    ],
    ids=str,
)
def test_points_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MlaWorkload(**{**lengths_workload().model_dump(), **changed})


def test_a_suite_has_one_workload_a_batch_size() -> None:
    suite = build_suite("deepseek-v3", "cuda", operations="mla_decode", lengths="suite", tp=8)
    found = {each.sizes["batch_size"]: each for each in suite.workloads}
    assert len(found) == len(suite.workloads)
    assert [point.context for point in found[1].length_points] == [1024, 8192, 32768, 131072]
    assert [point.context for point in found[16].length_points] == [1024, 8192]
    (one,) = (each for each in suite.workloads if each.sizes["batch_size"] == 16)
    assert isinstance(one, MlaWorkload)
    assert one.served_context == load_model("deepseek-v3").max_context
    extends = build_suite("deepseek-v3", "cuda", operations="mla_decode,mla_extend", lengths="uniform", tp=8)
    assert "only attention.mla_decode is measured over several lengths" in " ".join(extends.notes)
