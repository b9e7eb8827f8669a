"""Wave's decode: what its kernels are given, and metadata that is right. No AMD GPU runs them here.

The two phases are torch functions that see what the real ones would: slots, where each request begins, and parts.
"""

from __future__ import annotations

import math
import sys
import types
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_cases import workload

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.problem import AttentionProblem, cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.registry import REGISTRY, Device, Prepared
from autotune_cli.tuning.plan import plan

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
MI300 = Device("cuda", "AMD Instinct MI300X", (9, 4), 304)
# In the order of wave-lang 3.9.1.
FIELDS = ("num_query_heads", "num_kv_heads", "head_size", "head_size_kv", "block_size", "num_seqs")


def phases(
    shape: Any,
    mfma_variant: Any,
    num_kv_splits: int,
    input_dtype: torch.dtype = torch.float16,
    output_dtype: torch.dtype = torch.float16,
    layer_scaling: float | None = None,
    logit_cap: float = 0.0,
) -> tuple[Any, ...]:
    """Parameters of ``get_paged_decode_attention_kernels`` of wave-lang 3.9.1; what it returns, uncompiled."""
    group, dim = shape.num_query_heads // shape.num_kv_heads, shape.head_size
    scale = layer_scaling or 1 / math.sqrt(dim)
    assert mfma_variant == (("F16", "F16") if group > 1 else (("M", 4, 1), ("M", 1, 64)))

    def first(q: Any, k: Any, v: Any, starts: Any, slots: Any, out: Any, total: Any) -> None:
        assert starts.dtype == slots.dtype == torch.int32
        assert q.dtype == k.dtype == input_dtype
        assert k.is_contiguous()
        assert k.shape[1:] == v.shape[1:] == (shape.num_kv_heads, dim)
        assert out.shape == (*total.shape, dim) == (num_kv_splits, shape.num_seqs, shape.num_query_heads, dim)
        for request in range(shape.num_seqs):
            begin, end = int(starts[request]), int(starts[request + 1])
            width = -(-(end - begin) // num_kv_splits)
            for part in range(num_kv_splits):
                own = slots[begin + part * width : min(end, begin + (part + 1) * width)].long()
                keys, values = (x[own].float().repeat_interleave(group, 1) for x in (k, v))
                logits = torch.einsum("hd,khd->hk", q[request].float(), keys) * scale
                logits = logit_cap * torch.tanh(logits / logit_cap) if logit_cap else logits
                out[part, request] = torch.einsum("hk,khd->hd", logits.softmax(-1), values)
                total[part, request] = logits.logsumexp(-1).clamp(min=-1e6)

    def second(parts: Any, total: Any, starts: Any, out: Any) -> None:
        assert len(starts) == shape.num_seqs + 1
        out.copy_((parts * total.softmax(0)[..., None]).sum(0).to(output_dtype))

    return first, second, {"phase": 0}, {"phase": 1}, ["K2", "N_KV", "S"], ["S"]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each compilation; the modules are where the backend imports them from."""
    found: list[dict[str, Any]] = []

    def options(**given: Any) -> dict[str, Any]:
        return given

    def compile_(given: dict[str, Any], phase: Callable[..., None]) -> Callable[..., None]:
        found.append(given)
        return phase

    def dot(along_dim: str, k_vec_size: int, k_mult: int) -> tuple[str, int, int]:
        return along_dim, k_vec_size, k_mult

    kernel = "wave_lang.kernel.wave"
    modules = {
        f"{kernel}.compile": {"WaveCompileOptions": options, "wave_compile": compile_},
        f"{kernel}.constraints": {
            "GenericDot": dot,
            "MMAOperand": types.SimpleNamespace(M="M"),
            "MMAType": types.SimpleNamespace(F32_16x16x16_F16="F16"),
        },
        f"{kernel}.templates.paged_decode_attention": {
            "get_paged_decode_attention_kernels": phases,
            "paged_decode_attention_shape": namedtuple("paged_decode_attention_shape", FIELDS),
        },
        f"{kernel}.utils.general_utils": {"get_default_scheduling_params": lambda: {"delay": 1}},
        f"{kernel}.utils.run_utils": {"set_default_run_config": lambda given: given},
    }
    for name, members in modules.items():
        for parent in ("wave_lang", "wave_lang.kernel", kernel, name.rpartition(".")[0]):
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return found


@pytest.mark.parametrize("extra", [{}, {"num_qo_heads": 2}, {"softcap": 30.0}, {"dtype": "float16"}], ids=str)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_every_candidate(mode: str, extra: dict[str, Any], compiled: list[dict[str, Any]]) -> None:
    backend = REGISTRY.get("wave.decode")
    shape = workload("attention.decode", mode=mode, **extra)
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for candidate in backend.candidates(shape, MI300):
            assert backend.why_unsupported(shape, MI300, candidate) is None
            prepared = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(prepared, Prepared)
            assert prepared.plan is not None
            prepared.run().fill_(float("nan"))
            prepared.plan()
            verdict = problem.check(prepared.run())
            assert verdict.ok, (candidate.key, case, verdict.message)
    assert [(given["subs"], given["use_buffer_ops"], given["waves_per_eu"]) for given in compiled[:2]] == [
        ({"phase": 0, "delay": 1}, True, 2), ({"phase": 1, "delay": 1}, False, 4),
    ]  # fmt: skip
    assert [given["dynamic_symbols"] for given in compiled[:2]] == [["K2", "N_KV", "S"], ["S"]]


def test_split_counts_are_right_straight_after_the_capture(
    compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: SGLang's wave backend filled them in replays only, so a capture held the most parts for every request.

    Put back: leave out the ``plan()`` in ``wave_decode.prepare``.
    """
    from autotune_cli.kernels.attention.backends import _triton, wave_decode

    held: list[torch.Tensor] = []
    fill = wave_decode.fill_counts

    def keep(problem: Any, batch: _triton.ServedBatch, counts: torch.Tensor, splits: int) -> None:
        assert (counts == splits).all()
        fill(problem, batch, counts, splits)
        held.append(counts)

    monkeypatch.setattr(wave_decode, "fill_counts", keep)
    shape = workload("attention.decode", mode="graph").model_copy(update={"context": 2000})
    REGISTRY.get("wave.decode").prepare(make_problem(shape, "edges", "cpu", 7), splits=8)
    (counts,) = held
    lengths = make_problem(shape, "edges", "cpu", 7).lengths.kv
    assert len(counts) == len(lengths)
    # By the formula: one part for the shortest, the most for the longest, and no request has more.
    assert (int(counts[0]), int(counts.max())) == (1, 8)
    assert int(counts[lengths.index(max(lengths))]) == 8
    assert counts[torch.tensor(lengths).argsort()].diff().min() >= 0


def test_a_replay_counts_the_parts_of_its_own_lengths_where_the_capture_has_them(
    compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels share a request out whatever the counts are, so no output shows them.

    Put back: ``batch.fill()`` instead of ``plan()`` in the ``refill`` of ``wave_decode``.
    """
    from autotune_cli.kernels.attention.backends import wave_decode

    held: list[torch.Tensor] = []
    fill = wave_decode.fill_counts

    def keep(problem: Any, batch: Any, counts: torch.Tensor, splits: int) -> None:
        fill(problem, batch, counts, splits)
        held.append(counts)

    monkeypatch.setattr(wave_decode, "fill_counts", keep)
    points = (LengthPoint(context=33), LengthPoint(context=2000))
    fields = workload("attention.decode", mode="graph").model_dump() | {"context": 2000, "points": points}
    made = make_problem(AttentionWorkload(**fields), "workload", "cpu", 7)
    assert isinstance(made, AttentionProblem)
    prepared = REGISTRY.get("wave.decode").prepare(made, splits=8)
    assert isinstance(prepared, Prepared)
    assert prepared.refill is not None
    captured = held[-1].tolist()
    prepared.refill(made.at(points[0]))
    replayed = held[-1].tolist()
    assert (len(held), held[0].data_ptr()) == (2, held[1].data_ptr())
    lengths = torch.tensor(made.at(points[0]).lengths.kv, dtype=torch.int32)
    wanted = torch.zeros_like(lengths)
    metadata.fill_sglang_splits(
        wanted, lengths, len(lengths), num_qo_heads=4, num_kv_heads=2, most=8, multiprocessors=304
    )
    assert replayed == wanted.tolist() != captured


@pytest.mark.parametrize(
    ("device", "extra", "wanted"),
    [
        (H100, {}, None),
        (Device("cpu", "a CPU"), {}, "needs an AMD GPU of gfx942 (there: pip install wave-lang), this is cpu"),
        (Device("cuda", "AMD Instinct MI355X", (9, 5), 256), {}, "for gfx942 (MI300), this is gfx95"),
        (Device("cuda", "AMD Radeon RX 7900 XTX", (11, 0), 96), {}, "for gfx942 (MI300), this is gfx110"),
        (MI300, {"window_left": 40}, "no window"),
        (MI300, {"sinks": True}, "no attention sinks"),
        (MI300, {"kv_dtype": "float8_e4m3fn"}, "not bfloat16 on float8_e4m3fn"),
        (MI300, {}, None),
    ],
)
def test_why_not(device: Device, extra: dict[str, Any], wanted: str | None) -> None:
    backend, shape = REGISTRY.get("wave.decode"), workload("attention.decode", **extra)
    reasons = {backend.why_unsupported(shape, device, each) for each in backend.candidates(shape, device)}
    (reason,) = reasons
    assert (reason is None) == (wanted is None)
    assert wanted is None or wanted in str(reason)


def test_on_nvidia_an_installed_wave_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.kernels.attention.backends import wave_decode

    monkeypatch.setattr(wave_decode, "find_spec", lambda name: name)
    backend, shape = REGISTRY.get("wave.decode"), workload("attention.decode")
    reasons = {backend.why_unsupported(shape, H100, each) for each in backend.candidates(shape, H100)}
    assert reasons == {"Wave compiles for AMD's gfx942; this GPU is NVIDIA's"}


@pytest.mark.parametrize("device", [MI300, H100], ids=["AMD", "NVIDIA"])
def test_it_is_unavailable_with_the_command(device: Device) -> None:
    if REGISTRY.get("wave.decode").missing() is None:
        pytest.skip("wave-lang is installed")
    shape = workload("attention.decode")
    (baseline,) = plan(shape, device, [parse_baseline("sglang --attention-backend wave")]).baselines
    assert baseline.candidate == "wave.decode(splits=8)"
    assert str(baseline.missing).startswith("unavailable: wave_lang is not installed; get it: pip install w")
    entries = [entry for entry in plan(shape, device).candidates if entry.candidate.backend == "wave.decode"]
    assert {(entry.status, entry.fix) for entry in entries} == {
        ("unavailable", "pip install wave-lang, on a ROCm machine with a GPU of gfx942")
    }
