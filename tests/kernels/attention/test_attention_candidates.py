"""Which FlashInfer candidates a GPU gets, and why others don't apply."""

from __future__ import annotations

from typing import Any

import pytest
from attention_cases import FP8_QUERIES, OPERATIONS, problem, workload

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends.flashinfer_decode import SPLITS
from autotune_cli.kernels.attention.backends.flashinfer_ragged_paged_merge import merge_heads
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import REGISTRY, Device

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
B200 = Device("cuda", "NVIDIA B200", (10, 0), 148)
LLAMA = {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128}


def reasons(shape: AttentionWorkload, device: Device = H200) -> dict[str, str | None]:
    return {
        candidate.key: backend.why_unsupported(shape, device, candidate)
        for backend in REGISTRY.of(shape.operation)
        for candidate in backend.candidates(shape, device)
    }


DECODE = "flashinfer.decode(path={},page_size=1,split=none,pdl=none)"
MERGE = "flashinfer.ragged_paged_merge(ragged={},paged=fa2,page_size=1)"
FP8 = {"kv_dtype": "float8_e4m3fn"}
SINKS = {"sinks": True}


@pytest.mark.parametrize(
    ("operation", "extra", "key", "words"),
    [
        ("attention.decode", {"num_qo_heads": 28, "num_kv_heads": 4}, DECODE.format("cuda_cores"), "not 7"),
        ("attention.decode", {"head_dim": 96}, DECODE.format("tensor_cores"), "not 96"),
        ("attention.decode", {"dtype": "float32"}, DECODE.format("tensor_cores"), "not float32"),
        ("attention.decode", {"kv_dtype": "float16"}, DECODE.format("tensor_cores"), "not float16"),
        ("attention.decode", FP8, DECODE.format("fa3"), "FP8"),
        ("attention.decode", FP8_QUERIES | {"softcap": 30.0}, DECODE.format("fa3"), "no softcap"),
        ("attention.decode", SINKS, DECODE.format("tensor_cores"), "flashinfer.sink has"),
        ("attention.decode", SINKS, "flashinfer.batch_attention(page_size=1)", "flashinfer.sink has"),
        ("attention.decode", SINKS, "torch.sdpa(kernel=flash)", "no attention sinks"),
        ("attention.decode", {}, "flashinfer.sink(path=fa2,page_size=1)", "the layer has none"),
        ("attention.prefill", SINKS, "flashinfer.ragged(path=fa2)", "flashinfer.sink has"),
        ("attention.prefill", SINKS, "flashinfer.paged(path=fa3,page_size=1)", "flashinfer.sink has"),
        ("attention.prefill", SINKS | {"softcap": 9.0}, "flashinfer.sink(path=fa2,page_size=1)", "no softcap"),
        ("attention.extend", SINKS, MERGE.format("fa2"), "flashinfer.sink has"),
        ("attention.extend", SINKS | FP8_QUERIES, "flashinfer.sink(path=fa3,page_size=1)", "no FP8 queries"),
        ("attention.decode", {"softcap": 30.0}, "flashinfer.xqa(page_size=16)", "softcap"),
        ("attention.decode", {"num_kv_heads": 1, "num_qo_heads": 64}, "flashinfer.xqa(page_size=16)", "not 64"),
        ("attention.decode", {"window_left": 9}, "flashinfer.batch_attention(page_size=1)", "window"),
        ("attention.prefill", FP8, "flashinfer.paged(path=fa3,page_size=16)", "FP8"),
        ("attention.prefill", {"window_left": 9}, "torch.sdpa(kernel=flash)", "mask"),
        ("attention.extend", FP8, "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa3,page_size=1)", "paged: fa3"),
        (
            "attention.extend",
            {"window_left": 9},
            "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa3,page_size=1)",
            "only fa2 has",
        ),
        (
            "attention.extend",
            {"window_left": 9},
            "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=16)",
            "pages of one key",
        ),
        ("attention.extend", {"softcap": 30.0}, "torch.sdpa(kernel=math)", "softcap"),
    ],
)
def test_what_does_not_apply_says_why(operation: str, extra: dict[str, Any], key: str, words: str) -> None:
    found = reasons(workload(operation, **(LLAMA | extra)))[key]
    assert found is not None
    assert words in found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_plain_model_gets_every_flashinfer_candidate(operation: str) -> None:
    found = reasons(workload(operation, **LLAMA))
    backends = [each for each in REGISTRY.of(operation) if each.requires == common.REQUIRES]
    # The sink kernels are for layers with sinks.
    plain = [each for each in backends if each.name != "flashinfer.sink"]
    assert len(plain) >= 3
    for backend in plain:
        own = [key for key in found if key.partition("(")[0] == backend.name]
        assert own
        assert [found[key] for key in own] == [None] * len(own)


def test_no_fixed_split_in_a_graph() -> None:
    shape = workload("attention.decode", mode="graph", **LLAMA)
    backend = REGISTRY.get("flashinfer.decode")
    for split in SPLITS:
        fixed = [each for each in backend.candidates(shape, H200) if each.matches([("split", split)])]
        assert {dict(each.knobs)["page_size"] for each in fixed} == set(common.PAGE_SIZES)
        for candidate in fixed:
            assert "captured graph" in str(backend.why_unsupported(shape, H200, candidate))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_gpus(operation: str) -> None:
    shape = workload(operation, **LLAMA)
    for device, path in ((B200, "fa3"), (Device("cuda", "V100", (7, 0)), "fa")):
        for key, reason in reasons(shape, device).items():
            if path in key and "flashinfer" in key and "sink" not in key:
                assert reason is not None
                assert "compute capability" in reason


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_cpu_gets_no_flashinfer(operation: str) -> None:
    for key, reason in reasons(workload(operation), Device("cpu", "a CPU")).items():
        if key.startswith("flashinfer"):
            assert reason == "needs cuda, this is cpu"


@pytest.mark.parametrize(
    ("heads", "dim", "size", "wanted"),
    [(32, 128, 2, 32), (96, 128, 2, 48), (128, 128, 2, 64), (128, 64, 2, 128), (64, 256, 2, 32), (28, 128, 2, 28)],
)
def test_heads_of_one_merge_fit_a_block(heads: int, dim: int, size: int, wanted: int) -> None:
    assert merge_heads(heads, dim, size) == wanted


def test_workspace_grows_with_a_graph_and_with_splits() -> None:
    small = problem("attention.decode", **LLAMA)
    assert common.workspace_bytes(small) == 384 << 20
    shape = workload("attention.prefill", mode="graph", **LLAMA)
    large = shape.model_copy(update={"batch": 16, "new": 2048, "context": 2048, "spread": "even"})
    made = object.__new__(type(small))
    made.geometry, made.lengths, made.graph = large.geometry, large.lengths, True
    # 32768 tokens x group 4 in tiles of 128, one more for each further request.
    tiles = 32768 * 4 // 128 + 15
    assert 0 <= common.workspace_bytes(made) - 1.25 * 4 * 32 * tiles * 128 * 129 < 1 << 20
    decode = workload("attention.decode", **LLAMA).model_copy(update={"batch": 256, "context": 8192, "spread": "even"})
    made.geometry, made.lengths, made.graph = decode.geometry, decode.lengths, False
    assert common.workspace_bytes(made) == 384 << 20
    assert common.workspace_bytes(made, 512) > 1.25 * 4 * 32 * 256 * 16 * 16 * 128
