"""What a workload costs at least, counted one query and key at a time."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.topk.workload import TopkWorkload

GEOMETRY: dict[str, Any] = {"num_qo_heads": 8, "num_kv_heads": 2, "head_dim": 64}


def attention(operation: str, batch: int, new: int, context: int, **geometry: Any) -> AttentionWorkload:
    fields = {"operation": operation, "batch": batch, "new": new, "context": context, "mode": "eager"}
    return AttentionWorkload.model_validate(fields | {"geometry": Geometry(**(GEOMETRY | geometry))})


def topk(**changes: Any) -> TopkWorkload:
    fields: dict[str, Any] = {"operation": "topk.select", "rows": 3, "width": 1000, "k": 64, "mode": "eager"}
    return TopkWorkload(**(fields | changes))


def visible(workload: AttentionWorkload) -> tuple[int, int]:
    """(query, key) pairs, and keys that some query sees, over all requests."""
    window = workload.geometry.window_left
    pairs, seen = 0, set()
    for request, (qo, kv) in enumerate(zip(*workload.lengths, strict=True)):
        for query in range(kv - qo, kv):
            for key in range(kv):
                if key <= query and (window is None or key >= query - window):
                    pairs += 1
                    seen.add((request, key))
    return pairs, len(seen)


@pytest.mark.parametrize("window", [None, 0, 1, 15, 63, 64, 200])
@pytest.mark.parametrize(
    "shape",
    [
        ("attention.decode", 3, 1, 100),
        ("attention.prefill", 2, 90, 90),
        ("attention.extend", 2, 40, 150),
        ("attention.extend", 2, 1, 70),
    ],
)
def test_attention_counts_what_is_visible_once(shape: tuple[str, int, int, int], window: int | None) -> None:
    workload = attention(*shape, window_left=window)
    pairs, keys = visible(workload)
    queries = sum(workload.lengths.qo)
    counted = cost(workload)
    assert counted.written == queries * 8 * 64 * 2
    assert counted.bytes == 2 * counted.written + 2 * keys * 2 * 64 * 2
    assert counted.flops == 2 * 2 * pairs * 8 * 64
    assert not counted.fp8


def test_an_fp8_cache_is_a_byte_an_element_and_may_be_multiplied_so() -> None:
    half = attention("attention.decode", 1, 1, 1024)
    eighth = attention("attention.decode", 1, 1, 1024, kv_dtype="float8_e4m3fn")
    outside = 2 * cost(half).written
    assert cost(eighth).bytes - outside == (cost(half).bytes - outside) / 2
    assert cost(eighth).flops == cost(half).flops
    assert cost(eighth).fp8


def test_topk_reads_every_score_and_writes_every_index() -> None:
    assert cost(topk()) == (3 * 1000 * 4 + 3 * 64 * 4, 0.0, 3 * 64 * 4, False)
    uneven = topk(spread="uneven", rows=5)
    assert cost(uneven).bytes == sum(uneven.lengths) * 4 + 5 * 64 * 4


def test_topk_of_a_row_that_is_taken_whole_need_not_read_it() -> None:
    """Its answer is all of its positions, whatever the scores."""
    assert cost(topk(k=1000)).bytes == 3 * 1000 * 4
    assert cost(topk(k=999)).bytes == 3 * (1000 + 999) * 4
    mixed = topk(spread="uneven", rows=7, k=700)
    longer = [length for length in mixed.lengths if length > 700]
    assert 0 < len(longer) < 7
    assert cost(mixed).bytes == (sum(longer) + 7 * 700) * 4
