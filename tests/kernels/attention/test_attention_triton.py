"""Our Triton kernels: right in Triton's interpreter, compiled for Hopper without a card; their knobs and reasons."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, problem, workload

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.backends import _triton as common
from autotune_cli.kernels.attention.backends import triton_decode
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Device

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton"
)


@needs_triton
def test_every_form_of_the_kernels_is_right_in_tritons_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("triton_interpreted.py"))],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row[0] for row in found} == {"triton.decode", "triton.extend", "metadata"}
    assert [row for row in found if not row[3]] == []


POINTERS = {
    **dict.fromkeys(("q", "k", "v", "out"), "*bf16"),
    **dict.fromkeys(("sinks", "part_out", "part_lse"), "*fp32"),
    **dict.fromkeys(("kv_indptr", "kv_indices", "kv_lens", "qo_indptr", "num_splits", "tree_indptr", "depths"), "*i32"),
    "tree": "*u8",
}
NUMBERS = {"slot_stride": "i32", "most": "i32", "scale": "fp32", "out_scale": "fp32"}


def assembly(
    kernel: str, constants: dict[str, Any], warps: int, stages: int, module: str = "_triton_kernels", **types: str
) -> str:
    """PTX of a kernel for compute capability 9.0; Triton needs no GPU for it, and assembles it too."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels = importlib.import_module(f"autotune_cli.kernels.attention.backends.{module}")
    function = getattr(kernels, kernel)
    names = {name: at for at, name in enumerate(function.arg_names)}
    known = POINTERS | NUMBERS | types
    source = ASTSource(
        function,
        {name: "constexpr" if name in constants else known[name] for name in names},
        {(at,): constants[name] for name, at in names.items() if name in constants},
        {(at,): [["tt.divisibility", 16]] for name, at in names.items() if name in POINTERS or name == "slot_stride"},
    )
    options = {"num_warps": warps, "num_stages": stages}
    compiled = compile_kernel(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"]
    return str(compiled.asm["ptx"])


@needs_triton
def test_the_kernels_compile_for_hopper_and_use_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    layer = {"HEADS": 32, "GROUP": 4, "DIM": 128, "PAGE": 64, "BLOCK": 64, "WINDOW": -1, "CAP": 0.0, "SINKS": False}
    all_of_them = {"WINDOW": 127, "CAP": 43.3, "SINKS": True, "PAGE": 1}
    decode = layer | {"ROWS": 16, "SPLIT": True}
    for constants in (decode, decode | all_of_them, decode | all_of_them | {"SPLIT": False}):
        ptx = assembly("paged_decode_kernel", constants, 4, 5)
        # Tensor cores, and keys that arrive while others are computed.
        assert "mma.sync" in ptx
        assert "cp.async" in ptx
    assembly("paged_decode_kernel", decode, 4, 5, k="*fp8e4nv", v="*fp8e4nv")
    layer["TREE"] = False
    for constants in (layer, layer | all_of_them, layer | {"TREE": True}, layer | all_of_them | {"TREE": True}):
        ptx = assembly("paged_attention_extend_kernel", constants | {"ROWS": 128}, 8, 3)
        assert "wgmma.mma_async" in ptx
        assert "cp.async" in ptx
    merge = {"HEADS": 32, "DIM": 128, "CHUNK": 16, "SINKS": True}
    assembly("decode_split_merge_kernel", merge, 4, 3)


@needs_triton
@pytest.mark.parametrize(
    ("kernel", "constants"),
    [
        ("kv_lens_kernel", {"WINDOW": 127, "PAGE": 16, "REQUESTS": 256}),
        ("kv_indices_kernel", {"WINDOW": -1, "PAGE": 1, "PAGES": 1024}),
        ("equal_parts_kernel", {"BLOCK": 64, "REQUESTS": 256}),
        ("sglang_parts_kernel", {"REQUESTS": 256}),
    ],
)
def test_what_fills_a_batchs_buffers_compiles_for_hopper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, constants: dict[str, Any]
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = ("batch", "stride", "splits", "blocks", "most", "multiprocessors")
    pointers = dict.fromkeys(("lengths", "new", "counts", "table"), "*i32")
    assembly(kernel, constants, 4, 3, "_triton_metadata", **dict.fromkeys(names, "i32"), **pointers)


def llama(operation: str, batch: int, new: int, context: int, **extra: Any) -> AttentionWorkload:
    geometry = Geometry(**({"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128} | extra))
    return AttentionWorkload(
        operation=f"attention.{operation}", geometry=geometry, batch=batch, new=new, context=context, mode="eager"
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch", "context"), [(1, 1), (1, 1024), (8, 32768), (64, 8192)])
@pytest.mark.parametrize(
    "extra",
    [{}, {"head_dim": 256}, {"num_qo_heads": 64, "num_kv_heads": 1, "head_dim": 256}, {"window_left": 127}],
    ids=str,
)
def test_few_knobs_that_differ_and_fit(batch: int, context: int, extra: dict[str, Any]) -> None:
    shapes = [llama("decode", batch, 1, context, **extra), llama("prefill", batch, context, context, **extra)]
    for shape in shapes:
        found = [
            (backend, candidate)
            for backend in REGISTRY.of(shape.operation)
            if backend.name.startswith("triton.")
            for candidate in backend.candidates(shape, H100)
        ]
        keys = [candidate.key for _, candidate in found]
        assert 5 <= len(keys) <= 13
        assert len(set(keys)) == len(keys)
        for backend, candidate in found:
            knobs = dict(candidate.knobs)
            assert backend.why_unsupported(shape, H100, candidate) is None
            rows, block, stages = (
                knobs.get("rows") or triton_decode.rows(shape.geometry.group),
                knobs["block"],
                knobs["stages"],
            )
            assert common.fits(shape, int(rows), int(block), int(stages))  # type: ignore[arg-type]


def test_splits_fill_the_gpu_and_never_outnumber_blocks() -> None:
    def splits(batch: int, context: int, **extra: Any) -> list[int]:
        return triton_decode.splits(llama("decode", batch, 1, context, **extra), H100)

    assert splits(1, 131072) == [17, 33, 66]
    assert splits(8, 8192) == [3, 5, 9]
    # Programs enough without; parts even out requests of different lengths.
    assert splits(64, 8192) == [1, 2, 4]
    # Four blocks of keys.
    assert splits(1, 256) == [4]
    assert splits(1, 131072, window_left=127) == [2]
    assert splits(1, 1) == [1]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("capability", "extra", "reason"),
    [
        ((7, 5), {}, "8.0 or newer, this is 7.5"),
        ((9, 0), {"dtype": "float32"}, "not float32"),
        ((9, 0), {"kv_dtype": "float16"}, "not float16"),
        ((9, 0), {"head_dim": 96}, "not 96"),
        ((8, 6), {"kv_dtype": "float8_e4m3fn"}, "from compute capability 8.9 on"),
        ((8, 9), {"kv_dtype": "float8_e4m3fn"}, None),
        ((9, 0), FP8_QUERIES | {"sinks": True}, None),
        ((10, 0), {"window_left": 3, "softcap": 20.0, "sinks": True}, None),
        ((12, 0), {"dtype": "float16", "head_dim": 256}, None),
    ],
)
def test_why_not(operation: str, capability: tuple[int, int], extra: dict[str, Any], reason: str | None) -> None:
    found = common.why_not(workload(operation, **extra), Device("cuda", "", capability, 132))
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


class Launches:
    """Stands for a kernel: keeps what it is launched with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *positional, **named: self.calls.append({"grid": grid, **named})


@pytest.mark.parametrize("splits", ["sglang", 5])
def test_split_counts_are_right_straight_after_the_capture(splits: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: a capture kept the buffer as it was allocated, and only a replay counted.

    Put back: leave out the ``plan()`` in ``triton_decode.prepare``, or the ``fill_counts()`` in its ``plan``.
    """
    decode = Launches()
    fake = SimpleNamespace(paged_decode_kernel=decode, decode_split_merge_kernel=Launches())
    package = importlib.import_module("autotune_cli.kernels.attention.backends")
    monkeypatch.setattr(package, "_triton_kernels", fake, raising=False)
    made = problem("attention.decode", window_left=300)
    prepared = triton_decode.prepare(made, page_size=16, block=64, warps=4, stages=3, splits=splits)
    prepared.run()
    captured = decode.calls[-1]
    lengths, counts = captured["kv_lens"], captured["num_splits"]
    # In a window the parts are of what is seen: from the first page that is.
    assert lengths.tolist() == [n - max(0, n - 301) // 16 * 16 for n in made.lengths.kv]
    wanted = torch.zeros_like(counts)
    if splits == "sglang":
        heads = {"num_qo_heads": 4, "num_kv_heads": 2}
        metadata.fill_sglang_splits(wanted, lengths, len(counts), most=8, multiprocessors=132, **heads)
    else:
        metadata.fill_equal_parts(wanted, lengths, len(counts), splits=5, block=64)
    assert counts.tolist() == wanted.tolist()
    assert 1 < max(counts) <= captured["grid"][2]
    # A replay of another batch finds its numbers where the capture's were.
    assert prepared.plan is not None
    for name in ("kv_indptr", "kv_indices", "kv_lens", "num_splits"):
        captured[name].fill_(-7)
    prepared.plan()
    assert counts.tolist() == wanted.tolist()
    assert -7 not in captured["kv_indptr"].tolist()
