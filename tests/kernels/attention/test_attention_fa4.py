"""FlashAttention-4's candidates: calls that bind and compute the right thing, rules, compiling ahead.

The kernels themselves run in tests/gpu.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import fa4_emulator
import pytest
import torch
from attention_cases import OPERATIONS, workload

from autotune_cli.kernels.attention.backends import _flash_attn_cute as common
from autotune_cli.kernels.attention.problem import cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
B200 = Device("cuda", "NVIDIA B200", (10, 0), 148)
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108)
EXTRAS = [{}, {"window_left": 40}, {"softcap": 30.0}, {"num_kv_heads": 4}, {"dtype": "float16"}, {"sinks": True}]


def candidates(shape: AttentionWorkload, device: Device) -> dict[str, tuple[Backend, Candidate, str | None]]:
    return {
        candidate.key: (backend, candidate, backend.why_unsupported(shape, device, candidate))
        for backend in REGISTRY.of(shape.operation)
        if backend.name.startswith("flash_attn.")
        for candidate in backend.candidates(shape, device)
    }


def supported(shape: AttentionWorkload, device: Device) -> list[tuple[Backend, Candidate]]:
    return [(backend, candidate) for backend, candidate, reason in candidates(shape, device).values() if reason is None]


def reasons(shape: AttentionWorkload, device: Device) -> set[str]:
    return {reason for _, _, reason in candidates(shape, device).values() if reason is not None}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_every_candidate(operation: str, mode: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fa4_emulator.install(monkeypatch)
    shape = workload(operation, mode=mode, **extra)
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for backend, candidate in supported(shape, H200):
            prepared = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(prepared, Prepared)
            assert prepared.plan is None
            prepared.run().fill_(float("nan"))
            verdict = problem.check(prepared.run())
            assert verdict.ok, (candidate.key, case, verdict)


def test_the_emulation_notices_wrong_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    fa4_emulator.install(monkeypatch)
    made = make_problem(workload("attention.extend"), "edges", "cpu", 7)
    made.paged(16).tables[8].copy_(made.paged(16).tables[8].roll(1))
    prepared = REGISTRY.get("flash_attn.fa4").prepare(made, page_size=16, num_splits=1, pack_gqa=None)
    assert not made.check(prepared.run()).ok


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("device", [H200, B200], ids=lambda device: device.name)
def test_what_is_compiled_ahead_is_what_runs(operation: str, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compile key follows from shapes, dtypes and the other arguments: each real call had its fake twin."""
    emulator = fa4_emulator.install(monkeypatch)
    shape = workload(operation, window_left=40, sinks=True)

    def told(call: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: value for name, value in call.items() if isinstance(value, torch.Tensor)}
        plain = {name: value for name, value in call.items() if name not in tensors}
        return plain | {name: (tensor.shape, tensor.dtype, tensor.stride()) for name, tensor in tensors.items()}

    for backend, candidate in supported(shape, device):
        assert backend.build is not None
        emulator.calls.clear()
        backend.build(shape, **dict(candidate.knobs))
        ahead = [told(call) for call in emulator.calls]
        assert all(call["q"].device.type == "cuda" for call in emulator.calls)
        emulator.calls.clear()
        for case in cases(shape):
            prepared = backend.prepare(make_problem(shape, case, "cpu", 7), **dict(candidate.knobs))
            prepared.run()
        assert [told(call) for call in emulator.calls] == ahead


def test_knobs_on_hopper() -> None:
    """No splits: FA4 asserts that there are none on 9.0. Packing is a matter of several queries with several heads."""
    shape = workload("attention.decode").model_copy(update={"context": 65536})
    assert [dict(candidate.knobs) for _, candidate in supported(shape, H200)] == [
        {"page_size": size, "num_splits": 1, "pack_gqa": None} for size in (1, 16, 64, 128, 256)
    ]
    packs = {(c.backend, dict(c.knobs)["pack_gqa"]) for _, c in supported(workload("attention.prefill"), H200)}
    assert packs == {(name, pack) for name in ("flash_attn.fa4", "flash_attn.fa4_ragged") for pack in (None, False)}
    alone = supported(workload("attention.prefill", num_kv_heads=4), H200)
    assert {dict(candidate.knobs)["pack_gqa"] for _, candidate in alone} == {None}


@pytest.mark.parametrize(
    ("operation", "shape", "splits"),
    [
        ("attention.decode", {"context": 512}, {1}),
        ("attention.decode", {"context": 1024}, {1, 0, 4}),
        ("attention.decode", {"context": 65536}, {1, 0, 4, 16, 64}),
        ("attention.extend", {"context": 65536}, {1, 0, 4, 16, 64}),
        ("attention.extend", {"context": 65536, "new": 2048}, {1}),
        ("attention.prefill", {"context": 65536, "new": 65536}, {1}),
    ],
)
def test_splits_on_blackwell(operation: str, shape: dict[str, int], splits: set[int]) -> None:
    made = workload(operation).model_copy(update=shape)
    found = [dict(c.knobs)["num_splits"] for _, c in supported(made, B200) if c.backend == "flash_attn.fa4"]
    assert set(found) == splits
    windowed = made.model_copy(update={"geometry": made.geometry.model_copy(update={"window_left": 127})})
    found = [dict(c.knobs)["num_splits"] for _, c in supported(windowed, B200) if c.backend == "flash_attn.fa4"]
    assert set(found) == {1}


@pytest.mark.parametrize(
    ("device", "geometry", "paged", "reason"),
    [
        (H200, {}, True, None),
        (H200, {"head_dim": 256}, True, None),
        (B200, {"head_dim": 256}, True, None),
        (A100, {}, False, None),
        (A100, {}, True, "no paged KV on compute capability 8.x"),
        (Device("cuda", "RTX", (12, 0)), {}, True, "no paged KV on compute capability 12.x"),
        (Device("cuda", "V100", (7, 0)), {}, False, "8.0 to 12.x, this is 7.0"),
        (H200, {"kv_dtype": "float8_e4m3fn"}, True, "the cache in the queries' dtype, bfloat16, not float8_e4m3fn"),
        (H200, {"kv_dtype": "float8_e4m3fn"}, False, None),
        (H200, {"dtype": "float32"}, False, "bfloat16 or float16, not float32"),
        (H200, {"head_dim": 100}, False, "up to 256 in steps of 8, not 100"),
        (B200, {"head_dim": 192}, False, "up to 128 in steps of 8, and 256, not 192"),
        (A100, {"head_dim": 256}, False, "up to 128 in steps of 8, not 256"),
    ],
)
def test_who_may(device: Device, geometry: dict[str, Any], paged: bool, reason: str | None) -> None:
    found = common.why_not(workload("attention.prefill", **geometry), device, paged=paged)
    assert found is None if reason is None else reason in str(found)


def test_odd_head_dims_come_by_tma_or_not_at_all() -> None:
    shape = workload("attention.decode", head_dim=72)
    assert [dict(candidate.knobs)["page_size"] for _, candidate in supported(shape, H200)] == [128]
    assert reasons(shape, H200) == {"FA4 gathers pages for head dims in steps of 16, not 72; pages of 128 come by TMA"}


@pytest.mark.parametrize(
    ("head_dim", "window", "keys"),
    [(64, None, 128), (128, 9, 128), (192, None, 112), (192, 9, 96), (256, None, 80), (256, 9, 64)],
)
def test_tiles_of_hopper(head_dim: int, window: int | None, keys: int) -> None:
    shape = workload("attention.decode", head_dim=head_dim, window_left=window)
    assert common.tile_keys(shape.geometry, H200) == keys
    assert common.tile_keys(shape.geometry, B200) == 128


# In a process of its own: FA4 reads these variables once, and takes the architecture from them where there is no GPU.
_COMPILE = """
from autotune_cli.kernels.registry import REGISTRY, Device
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from flash_attn.cute.interface import _flash_attn_fwd

cases = (("decode", 1, {}), ("prefill", 512, {"softcap": 30.0}), ("extend", 64, {"window_left": 9}))
for operation, new, extra in cases:
    shape = AttentionWorkload(
        operation=f"attention.{operation}",
        geometry=Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128, **extra),
        batch=2, new=new, context=512, mode="eager",
    )
    device = Device("cuda", "H200", (9, 0), 132)
    for backend in REGISTRY.of(shape.operation):
        for candidate in backend.candidates(shape, device) if backend.name.startswith("flash_attn.") else ():
            backend.build(shape, **dict(candidate.knobs))
print(len(_flash_attn_fwd.compile_cache.cache))
"""


def test_the_real_compiler_takes_it() -> None:
    missing = REGISTRY.get("flash_attn.fa4").missing()
    if missing:
        pytest.skip(f"{missing} is not installed: {common.INSTALL}")
    target = {"FLASH_ATTENTION_ARCH": "sm_90", "CUTE_DSL_ARCH": "sm_90a", "FLASH_ATTENTION_NUM_SMS": "132"}
    command = [sys.executable, "-c", textwrap.dedent(_COMPILE)]
    done = subprocess.run(command, env=os.environ | target, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    # Gather and TMA for each; packed or not but in the decode; the prefill's ragged ones. Unpacked, the extend's 64
    # queries fit into a tile and the edge case's 130 don't.
    assert int(done.stdout) == 2 + 6 + 6
