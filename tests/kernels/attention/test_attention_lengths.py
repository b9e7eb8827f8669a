"""A decode step that is prepared once, for the longest lengths, and refilled at others. Libraries are emulated."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fa3_emulator
import fa4_emulator
import pytest
import torch
from attention_cases import FP8_QUERIES, attend, workload
from pydantic import ValidationError

from autotune_cli.kernels.attention.backends import triton_decode
from autotune_cli.kernels.attention.problem import AttentionProblem, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.registry import REGISTRY, Device, Prepared

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
CPU = Device("cpu", "CPU")
POINTS = (LengthPoint(context=17), LengthPoint(context=65, weight=2), LengthPoint(context=90))
EXTRAS: list[dict[str, Any]] = [
    {}, {"window_left": 40}, {"softcap": 30.0}, {"sinks": True, "window_left": 40}, FP8_QUERIES
]  # fmt: skip


def lengths_workload(mode: str = "eager", **geometry: Any) -> AttentionWorkload:
    shape = workload("attention.decode", mode=mode, **geometry)
    return AttentionWorkload(**{**shape.model_dump(), "points": POINTS, "served_context": 200})


def emulate(monkeypatch: pytest.MonkeyPatch, library: str) -> Any:
    """The emulator that keeps the arguments of each call, where the library's does."""
    if library == "sgl_kernel.fa3":
        return fa3_emulator.install(monkeypatch)
    if library == "flash_attn.fa4":
        return fa4_emulator.install(monkeypatch)
    if library == "flashinfer":
        pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
        importlib.import_module("flashinfer_emulator").install(monkeypatch)
        monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._WORKSPACE", 1 << 20)
        monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._GRID", 1)
        monkeypatch.setattr("autotune_cli.kernels.attention.backends.flashinfer_xqa._WORKSPACE", 8 << 20)
    return None


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("library", ["sgl_kernel.fa3", "flashinfer", "flash_attn.fa4", "torch"])
def test_every_candidate_is_right_at_every_length(
    library: str, mode: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an order that goes down and up; candidates share the inputs, and none disturbs another."""
    emulate(monkeypatch, library)
    device = CPU if library == "torch" else H100
    shape = lengths_workload(mode, **extra)
    problem = make_problem(shape, "workload", "cpu", 7)
    ready = {}
    for backend in REGISTRY.of(shape.operation):
        for candidate in backend.candidates(shape, device) if backend.name.startswith(library) else ():
            if backend.why_unsupported(shape, device, candidate) is None:
                prepared = backend.prepare(problem, **dict(candidate.knobs))
                ready[candidate.key] = prepared if isinstance(prepared, Prepared) else Prepared(prepared)
    for point in (POINTS[0], POINTS[2], POINTS[1]):
        other = problem.at(point)
        for key, prepared in ready.items():
            if prepared.refill is None:
                assert (key.split(".")[0], mode) == ("torch", "graph")
                continue
            assert prepared.frozen or key.startswith("torch."), key
            prepared.refill(other)
            output = prepared.run()
            (output[0] if isinstance(output, tuple) else output).fill_(float("nan"))
            verdict = other.check(prepared.run())
            assert verdict.ok, (key, point.context, verdict.message)
    assert ready or library == "flash_attn.fa4"


def test_a_capture_that_is_not_refilled_is_wrong_at_another_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge tells a step's output from that of the same queries with more of the same keys."""
    emulate(monkeypatch, "sgl_kernel.fa3")
    problem = make_problem(lengths_workload("graph"), "workload", "cpu", 7)
    prepared = REGISTRY.get("sgl_kernel.fa3").prepare(problem, page_size=16, num_splits=0)
    assert isinstance(prepared, Prepared)
    assert problem.check(prepared.run()).ok
    for point in POINTS[:2]:
        assert not problem.at(point).check(prepared.run()).ok


def test_a_refill_keeps_the_tensors_of_the_capture_and_writes_no_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    problem = make_problem(lengths_workload("graph"), "workload", "cpu", 7)
    prepared = REGISTRY.get("sgl_kernel.fa3").prepare(problem, page_size=1, num_splits=0, scheduler_metadata=True)
    assert isinstance(prepared, Prepared)
    assert prepared.refill is not None
    prepared.run()
    held = emulator.calls["flash_attn_with_kvcache"][-1]
    wide = held["page_table"].shape[1]
    assert (
        prepared.frozen
        == f"a bound on the splits, for a table of {wide} keys; each request's own are counted on the device"
    )
    assert wide == 200
    shared = problem.paged(1)
    before = shared.seq_lens.clone(), shared.block_tables.clone()
    prepared.refill(problem.at(POINTS[0]))
    prepared.run()
    call = emulator.calls["flash_attn_with_kvcache"][-1]
    for name in ("cache_seqlens", "page_table", "scheduler_metadata"):
        assert call[name] is held[name]
    assert call["cache_seqlens"].tolist() == list(problem.workload.lengths_at(17).kv)
    # What the server knows of this step on the host.
    assert emulator.calls["get_scheduler_metadata"][-1]["max_seqlen_k"] == max(problem.workload.lengths_at(17).kv)
    assert torch.equal(shared.seq_lens, before[0])
    assert torch.equal(shared.block_tables, before[1])


def addresses(arguments: Any) -> list[tuple[str, int]]:
    """Where the tensors of a launch lie."""
    named = arguments.items() if isinstance(arguments, dict) else ((str(at), each) for at, each in enumerate(arguments))
    return [(name, value.data_ptr()) for name, value in named if isinstance(value, torch.Tensor)]


def output_of(prepared: Prepared) -> torch.Tensor:
    output = prepared.run()
    return output[0] if isinstance(output, tuple) else output


def replays(problem: AttentionProblem, prepared: Prepared) -> Iterator[int]:
    """A capture, and replays at other lengths and of the same ones planned anew; the number of each."""
    assert prepared.refill is not None
    yield 0
    for number, point in enumerate((POINTS[0], POINTS[2], POINTS[1], POINTS[0]), 1):
        prepared.refill(problem.at(point))
        yield number
    if prepared.plan is not None:
        prepared.plan()
        yield 5


@pytest.mark.parametrize("extra", [{}, {"window_left": 40}, FP8_QUERIES], ids=str)
@pytest.mark.parametrize("library", ["sgl_kernel.fa3", "flash_attn.fa4", "triton"])
def test_no_replay_moves_what_a_graph_holds(
    library: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: a replay put another tensor in the place of one that the captured kernels read or write; not only the
    first one, and not only of lengths and tables.

    Put back: give ``arguments`` in a ``refill`` or ``plan`` of a backend a new tensor under any name, in every replay
    or in the second one alone.
    """
    calls: list[Any] = triton_calls(monkeypatch) if library == "triton" else []
    emulator = emulate(monkeypatch, library)
    if library == "sgl_kernel.fa3":
        calls = emulator.calls.setdefault("flash_attn_with_kvcache", [])
    elif library == "flash_attn.fa4":
        calls = emulator.calls
    problem = make_problem(lengths_workload("graph", **extra), "workload", "cpu", 7)
    found = 0
    for backend in REGISTRY.of("attention.decode"):
        for candidate in backend.candidates(problem.workload, H100) if backend.name.startswith(library) else ():
            if backend.why_unsupported(problem.workload, H100, candidate) is None:
                prepared = backend.prepare(problem, **dict(candidate.knobs))
                assert isinstance(prepared, Prepared)
                held: list[Any] = []
                for number in replays(problem, prepared):
                    calls.clear()
                    prepared.run()
                    launched = list(map(addresses, calls))
                    held = held or launched
                    assert launched[0]
                    assert launched == held, (candidate.key, number)
                found += 1
    assert found or (library, extra) == ("flash_attn.fa4", FP8_QUERIES)


def test_no_replay_makes_another_wrapper_of_flashinfer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured kernel reads the buffers of the wrapper that it was captured with.

    Put back: make a new wrapper in the ``refill`` of ``flashinfer_decode``.
    """
    emulate(monkeypatch, "flashinfer")
    emulator = importlib.import_module("flashinfer_emulator")
    made: list[Any] = []
    for kind in (emulator.Decode, emulator.Paged, emulator.Holistic):
        init = kind.__init__
        monkeypatch.setattr(
            kind, "__init__", lambda self, *a, _init=init, **k: (made.append(self), _init(self, *a, **k))[1]
        )
    problem = make_problem(lengths_workload("graph"), "workload", "cpu", 7)
    for backend in REGISTRY.of("attention.decode"):
        for candidate in backend.candidates(problem.workload, H100) if backend.name.startswith("flashinfer") else ():
            if backend.why_unsupported(problem.workload, H100, candidate) is None:
                prepared = backend.prepare(problem, **dict(candidate.knobs))
                assert isinstance(prepared, Prepared)
                before, place = len(made), output_of(prepared).data_ptr()
                for number in replays(problem, prepared):
                    assert output_of(prepared).data_ptr() == place, (candidate.key, number)
                    assert len(made) == before, (candidate.key, number)
    assert made


def triton_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Triton's kernels are launched with."""
    package = importlib.import_module("autotune_cli.kernels.attention.backends")
    calls: list[Any] = []
    kernel = {"__getitem__": lambda self, grid: lambda *positional, **named: calls.append(named)}
    merge = {"__getitem__": lambda self, grid: lambda *positional, **named: calls.append(positional)}
    fake = SimpleNamespace(
        paged_decode_kernel=type("Kernel", (), kernel)(), decode_split_merge_kernel=type("K", (), merge)()
    )
    monkeypatch.setattr(package, "_triton_kernels", fake, raising=False)
    return calls


def test_tritons_buffers_hold_what_a_step_of_these_lengths_has(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = triton_calls(monkeypatch)
    knobs: dict[str, Any] = {"page_size": 16, "block": 64, "warps": 4, "stages": 3, "splits": "sglang"}
    problem = make_problem(lengths_workload("graph", window_left=40), "workload", "cpu", 7)
    prepared = triton_decode.prepare(problem, **knobs)
    assert prepared.refill is not None
    prepared.refill(problem.at(POINTS[1]))
    prepared.run()
    held = calls[0]
    triton_decode.prepare(problem.at(POINTS[1]), **knobs).run()
    fresh = next(call for call in calls[1:] if "kv_indptr" in call)
    used = int(fresh["kv_indptr"][-1])
    for name in ("kv_indptr", "kv_lens", "num_splits"):
        assert torch.equal(held[name], fresh[name])
    assert torch.equal(held["kv_indices"][:used], fresh["kv_indices"][:used])


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_the_reference_of_a_length_is_that_of_its_first_keys(extra: dict[str, Any]) -> None:
    problem = make_problem(lengths_workload(**extra), "workload", "cpu", 7)
    for point in POINTS:
        other = problem.at(point)
        ends = torch.tensor(problem.lengths.kv).cumsum(0).tolist()
        starts = [end - whole for end, whole in zip(ends, problem.lengths.kv, strict=True)]
        rows = torch.cat([torch.arange(a, a + n) for a, n in zip(starts, other.lengths.kv, strict=True)])
        cut = AttentionProblem(problem.workload, other.lengths, "cpu", 7)
        cut.q, cut.sinks = problem.q, problem.sinks
        for name in ("_keys", "_values"):
            whole = getattr(problem, name)
            setattr(
                cut, name, whole.view(torch.uint8)[rows].view(whole.dtype) if whole.element_size() == 1 else whole[rows]
            )
        out, _ = attend(cut)
        assert other.check(out).ok
        # Inputs that lie elsewhere have the same reference, and it is computed once.
        assert problem.moved().at(point).reference is other.reference


def test_a_workload_of_several_lengths_names_them_all() -> None:
    shape = lengths_workload("graph")
    assert shape.key == "attention.decode 3 x 17..90 lengths 17,65*2,90 graph " + shape.geometry.key
    assert shape.cells == ("3", "≤17..90")
    alone = [AttentionWorkload(**{**shape.model_dump(), "points": (), "context": each.context}) for each in POINTS]
    weights = [1, 2, 1]
    mean = sum(weight * cost(each).bytes for weight, each in zip(weights, alone, strict=True)) / 4
    assert cost(shape).bytes == pytest.approx(mean)
    pairs = zip(shape.lengths_at(17).kv, shape.lengths_at(65).kv, shape.lengths.kv, strict=True)
    assert all(first <= second <= third for first, second, third in pairs)


@pytest.mark.parametrize(
    "points", [[LengthPoint(context=90), LengthPoint(context=17)], [LengthPoint(context=91)], [POINTS[2], POINTS[2]]]
)
def test_points_that_no_capture_serves_are_refused(points: list[LengthPoint]) -> None:
    with pytest.raises(ValidationError, match="ascending order, the last one the context"):
        AttentionWorkload(**{**lengths_workload().model_dump(), "points": points})


def test_a_shorter_step_may_see_a_page_more_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """96 keys end with a page: a window of 41 of them is in 3 pages of 16, that of 87 keys in 4."""
    emulate(monkeypatch, "flashinfer")
    shape = lengths_workload("graph", window_left=40).model_dump()
    points = (LengthPoint(context=87), LengthPoint(context=96))
    problem = make_problem(
        AttentionWorkload(**{**shape, "context": 96, "spread": "even", "points": points}), "workload", "cpu", 7
    )
    prepared = REGISTRY.get("flashinfer.decode").prepare(problem, path="fa3", page_size=16, split=None, pdl=None)
    assert isinstance(prepared, Prepared)
    assert prepared.refill is not None
    other = problem.at(points[0])
    prepared.refill(other)
    assert other.check(prepared.run()).ok
