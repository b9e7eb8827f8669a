"""Metadata of a batch, filled in place: right values, nothing beyond the batch, tensors that stay where they are."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.backends._refill import fill_tables
from autotune_cli.kernels.attention.paging import PagedKV
from autotune_cli.kernels.mla.backends._metadata import fill_block_table, fill_lengths

CANARY = -7
# Buffers and tables of 8 requests, of which 4 are there. What lies beyond is left from another batch.
LARGEST, BATCH = 8, 4
LENGTHS = [5, 1, 33, 16]
STALE = [999] * (LARGEST - BATCH)


def ints(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def table(rows: int, width: int) -> torch.Tensor:
    """Page ids that tell their place: 100 * request + column."""
    return (100 * torch.arange(rows)[:, None] + torch.arange(width)[None, :]).int()


def buffers(pages: int = 64) -> metadata.KVBuffers:
    made = metadata.KVBuffers.allocate(LARGEST, pages, "cpu")
    for tensor in (made.kv_indptr, made.kv_indices, made.kv_lens):
        tensor.fill_(CANARY)
    return made


def pages_of(made: metadata.KVBuffers, batch: int) -> list[list[int]]:
    starts = made.kv_indptr[: batch + 1].tolist()
    return [made.kv_indices[a:b].tolist() for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_the_pages_of_each_request_follow_each_other(page_size: int) -> None:
    made, wide = buffers(), table(BATCH, 40)
    metadata.fill_kv(made, wide, ints(LENGTHS), BATCH, page_size=page_size)
    counts = [math.ceil(length / page_size) for length in LENGTHS]
    assert pages_of(made, BATCH) == [wide[at, :count].tolist() for at, count in enumerate(counts)]
    assert made.kv_lens[:BATCH].tolist() == LENGTHS


def test_a_replay_writes_nothing_beyond_its_batch() -> None:
    """Fault: the batch size was taken from the length of the buffers, so rows of another batch were written and read.

    Put back: ``batch = len(lengths)`` as the first line of ``fill_kv`` (or of any other ``fill_``).
    """
    made = buffers()
    lengths = ints(LENGTHS + STALE)
    metadata.fill_kv(made, table(LARGEST, 40), lengths, BATCH, page_size=4)
    used = int(made.kv_indptr[BATCH])
    assert used == 2 + 1 + 9 + 4
    assert set(made.kv_indptr[BATCH + 1 :].tolist()) == {CANARY}
    assert set(made.kv_indices[used:].tolist()) == {CANARY}
    assert set(made.kv_lens[BATCH:].tolist()) == {CANARY}
    for fill in (
        lambda out: metadata.fill_equal_parts(out, lengths, BATCH, splits=3, block=4),
        lambda out: metadata.fill_sglang_splits(
            out, lengths, BATCH, num_qo_heads=32, num_kv_heads=8, most=8, multiprocessors=132
        ),
    ):
        out = ints([CANARY] * LARGEST)
        fill(out)
        assert CANARY not in out[:BATCH].tolist()
        assert set(out[BATCH:].tolist()) == {CANARY}
    out = ints([CANARY] * (LARGEST + 1))
    metadata.fill_indptr(out, lengths, BATCH)
    assert set(out[BATCH + 1 :].tolist()) == {CANARY}


def test_a_table_is_refilled_in_place_and_no_further_than_its_longest_request() -> None:
    """Put back: ``table.zero_()`` in ``fill_tables``."""
    wide = torch.full((3, 9), CANARY, dtype=torch.int32)
    lengths = ints([CANARY] * 3)
    held = wide.data_ptr(), lengths.data_ptr()
    tables = (ints([4, 5]), ints([6]), ints([1, 2, 3]))
    some = torch.zeros(8, 16, 1, 4)
    fill_tables(wide, lengths, PagedKV(16, some, some, tables, (17, 16, 40)))
    assert wide[:, :3].tolist() == [[4, 5, 0], [6, 0, 0], [1, 2, 3]]
    assert set(wide[:, 3:].flatten().tolist()) == {CANARY}
    assert lengths.tolist() == [17, 16, 40]
    assert (wide.data_ptr(), lengths.data_ptr()) == held


def test_stale_rows_decide_nothing() -> None:
    """The longest request counts for split counts; one of 999 keys from another batch must not."""
    for fill in (
        lambda out, lengths: metadata.fill_equal_parts(out, lengths, BATCH, splits=4, block=4),
        lambda out, lengths: metadata.fill_sglang_splits(
            out, lengths, BATCH, num_qo_heads=32, num_kv_heads=8, most=8, multiprocessors=132
        ),
    ):
        exact, longer = ints([0] * BATCH), ints([0] * LARGEST)
        fill(exact, ints(LENGTHS))
        fill(longer, ints(LENGTHS + STALE))
        assert longer[:BATCH].tolist() == exact.tolist()


def test_full_and_windowed_layers_have_their_own_lengths() -> None:
    """Fault: the full layers' plan took the lengths that hold the new tokens and added these again, and one kind of
    layers got the other's. Put back: add ``new`` to ``left`` in ``fill_kv``, or fill one ``KVBuffers`` for both.
    """
    new, window_left, page_size = [5, 1, 3, 16], 9, 4
    full, windowed = buffers(), buffers()
    lengths, wide = ints(LENGTHS), table(BATCH, 40)
    metadata.fill_kv(full, wide, lengths, BATCH, page_size=page_size, new=ints(new))
    metadata.fill_kv(windowed, wide, lengths, BATCH, page_size=page_size, new=ints(new), window_left=window_left)
    assert full.kv_lens[:BATCH].tolist() == LENGTHS
    assert full.kv_indptr[: BATCH + 1].tolist() == [0, 2, 3, 12, 16]
    # The first new token of request 2 is key 30 and sees keys from 21 on, which lies in page 5.
    firsts = [0, 0, 21, 0]
    assert metadata.first_seen(lengths, ints(new), window_left).tolist() == firsts
    assert windowed.kv_lens[:BATCH].tolist() == [5, 1, 33 - 20, 16]
    assert pages_of(windowed, BATCH)[2] == [205, 206, 207, 208]


def test_a_decode_step_in_a_window_sees_its_own_key_and_those_before() -> None:
    made = buffers()
    metadata.fill_kv(made, table(BATCH, 40), ints(LENGTHS), BATCH, page_size=1, window_left=3)
    assert made.kv_lens[:BATCH].tolist() == [4, 1, 4, 4]
    assert pages_of(made, BATCH)[2] == [229, 230, 231, 232]


def test_a_replay_keeps_the_tensors_that_a_capture_holds() -> None:
    """Fault: a replay made new tensors, and the graph went on reading the old ones. Put back: in ``fill_kv`` assign
    ``left`` to ``buffers.kv_lens`` (through ``object.__setattr__``) instead of into it.
    """
    made = buffers()
    held = [tensor.data_ptr() for tensor in (made.kv_indptr, made.kv_indices, made.kv_lens)]
    for lengths in ([1] * BATCH, LENGTHS):
        metadata.fill_kv(made, table(BATCH, 40), ints(lengths), BATCH, page_size=1)
    assert [tensor.data_ptr() for tensor in (made.kv_indptr, made.kv_indices, made.kv_lens)] == held
    # The second batch is there, not the first one.
    assert made.kv_lens[:BATCH].tolist() == LENGTHS


def test_a_replay_never_waits_for_the_device() -> None:
    """Fault: a number was read back from the device in a replay. Tensors that hold none show it: whatever asks for a
    value, or for a shape that depends on one, raises.

    Put back: ``int(buffers.kv_indptr[batch])`` in ``fill_kv``, or ``int(lengths.max())`` in any other ``fill_``.
    """
    with torch.device("meta"):
        made = metadata.KVBuffers.allocate(LARGEST, 64, "meta")
        lengths, new, wide = (torch.empty(size, dtype=torch.int32) for size in ((LARGEST,), (LARGEST,), (LARGEST, 40)))
        out = torch.empty(4 * LARGEST, dtype=torch.int32)
    with pytest.raises(RuntimeError):
        int(lengths.max())
    for window_left in (None, 9):
        metadata.fill_kv(made, wide, lengths, BATCH, page_size=4, new=new, window_left=window_left)
    metadata.fill_indptr(out, lengths, BATCH)
    metadata.fill_equal_parts(out, lengths, BATCH, splits=3, block=4)
    for per_request in (1, 4):
        metadata.fill_sglang_splits(
            out, lengths, BATCH, num_qo_heads=32, num_kv_heads=8, most=8, multiprocessors=132, per_request=per_request
        )
    fill_block_table(wide, out, made.kv_indptr, BATCH)
    fill_lengths(out, lengths, BATCH)


def test_requests_without_keys_have_no_pages() -> None:
    made = buffers()
    metadata.fill_kv(made, table(3, 40), ints([0, 3, 0]), 3, page_size=2)
    assert pages_of(made, 3) == [[], [100, 101], []]


def test_indptr_begins_at_0_and_ends_with_the_sum() -> None:
    out = ints([CANARY] * 4)
    metadata.fill_indptr(out, ints([2, 0, 7]), 3)
    assert out.tolist() == [0, 2, 2, 9]


def test_equal_parts_are_whole_blocks_and_none_is_longer_than_the_longest_requests() -> None:
    out = ints([0] * 5)
    metadata.fill_equal_parts(out, ints([1000, 500, 250, 1, 0]), 5, splits=4, block=64)
    # Parts of 256 keys.
    assert out.tolist() == [4, 2, 1, 1, 1]
    metadata.fill_equal_parts(out, ints([10, 3, 1, 1, 1]), 5, splits=8, block=64)
    assert out.tolist() == [1] * 5


def sglang(
    lengths: list[int], qo: int = 32, kv: int = 8, most: int = 8, cores: int = 132, per_request: int = 1
) -> list[int]:
    """The formula of SGLang's get_num_kv_splits_triton in Python's numbers."""
    longest, shortest = max(lengths), min(lengths)
    if 8 * longest < 10 * shortest:
        shortest = longest
    first = math.ceil(longest / min(math.ceil(longest / shortest), most))
    counted = int(cores * max(math.log2(longest / 64), 1.0))
    heads = qo if qo == kv else math.ceil(qo / min(16, qo // kv))
    second = math.ceil(longest / min(math.ceil(counted / (len(lengths) * per_request * heads)), most))
    parts = [max(math.ceil(length / first), math.ceil(length / second)) for length in lengths]
    return [count for count in parts for _ in range(per_request)]


@pytest.mark.parametrize(
    "lengths", [[1], [64], [1024], [8192] * 64, [8192, 4096, 100], [1000, 801], [1000, 800], [32768] * 8]
)
@pytest.mark.parametrize(("qo", "kv"), [(32, 8), (32, 32), (64, 1), (7, 1)])
def test_sglangs_split_counts(lengths: list[int], qo: int, kv: int) -> None:
    for per_request in (1, 4):
        out = ints([0] * (len(lengths) * per_request))
        metadata.fill_sglang_splits(
            out, ints(lengths), len(lengths), num_qo_heads=qo, num_kv_heads=kv, most=8, multiprocessors=132,
            per_request=per_request,
        )  # fmt: skip
        assert out.tolist() == sglang(lengths, qo, kv, per_request=per_request)


def test_sglangs_split_counts_by_hand() -> None:
    out = ints([0] * 3)
    # Group 4: 3 x 8 blocks; 132 x log2(8192 / 64) = 924 multiprocessors, so 39 parts, at most 8: of 1024 keys each.
    metadata.fill_sglang_splits(
        out, ints([8192, 4096, 100]), 3, num_qo_heads=32, num_kv_heads=8, most=8, multiprocessors=132
    )
    assert out.tolist() == [8, 4, 1]
