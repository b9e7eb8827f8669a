"""Every page size holds the same logical cache, with garbage around it."""

from __future__ import annotations

import pytest
import torch
from attention_cases import OPERATIONS, logical, problem, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_cli.kernels.attention.edges import EDGE_LONGEST, EDGE_REQUESTS, edge_lengths
from autotune_cli.kernels.attention.paging import PagedKV
from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import Lengths

PAGE_SIZES = (1, 16, 64)


@pytest.mark.parametrize("extra", [{}, {"dtype": "float32"}, {"kv_dtype": "float8_e4m3fn"}], ids=str)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_pages_hold_the_logical_cache(page_size: int, extra: dict[str, object]) -> None:
    made = problem("attention.extend", head_dim=8, **extra)
    keys, values = logical(made, page_size)
    assert torch.equal(keys, made._keys.double())
    assert torch.equal(values, made._values.double())


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_unused_slots_hold_finite_garbage(page_size: int) -> None:
    for extra, garbage in (({}, 29952.0), ({"kv_dtype": "float8_e4m3fn"}, 448.0)):
        made = problem("attention.decode", **extra)
        pages = made.paged(page_size)
        unused = torch.ones(pages.k.shape[:2], dtype=torch.bool)
        for table, length in zip(pages.tables, pages.lengths, strict=True):
            for token in range(length):
                unused[int(table[token // page_size]), token % page_size] = False
        assert unused[0].all()
        assert bool((pages.k.float()[unused] == garbage).all())
        assert bool((pages.v.float()[unused] == garbage).all())


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_tables_agree(operation: str, page_size: int) -> None:
    pages = problem(operation).paged(page_size)
    assert pages.indptr.dtype == pages.indices.dtype == pages.last_page_len.dtype == torch.int32
    used = pages.indices.tolist()
    assert sorted(used) == list(range(1, pages.k.shape[0]))
    if len(used) > 20:
        assert used != sorted(used)
    for request, length in enumerate(pages.lengths):
        start, stop = pages.indptr[request : request + 2].tolist()
        assert pages.block_tables[request, : stop - start].tolist() == used[start:stop]
        assert bool((pages.block_tables[request, stop - start :] == 0).all())
        assert (stop - start - 1) * page_size + int(pages.last_page_len[request]) == length
        assert 1 <= int(pages.last_page_len[request]) <= page_size
    assert pages.seq_lens.tolist() == list(pages.lengths)


def test_candidates_share_a_layout() -> None:
    made = problem("attention.extend")
    assert made.paged(16) is made.paged(16)
    assert made.paged(16, "prefix").k is made.paged(16).k
    assert made.workspace(64) is made.workspace(64)
    assert not made.workspace(64).any()
    assert len(made.inputs()) == 5
    assert made.k is made.k
    assert len(made.inputs()) == 6


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_the_prefix_part_ends_before_the_new_tokens(page_size: int) -> None:
    made = problem("attention.extend")
    prefix = made.paged(page_size, "prefix")
    assert 0 in prefix.lengths
    for request, (qo, kv) in enumerate(zip(*made.lengths, strict=True)):
        pages = int(prefix.indptr[request + 1] - prefix.indptr[request])
        assert pages == -(-(kv - qo) // page_size)
        # FlashInfer's length of a request: (pages - 1) * page size + the last page's, and 0 without a page.
        assert max(pages - 1, 0) * page_size + int(prefix.last_page_len[request]) == kv - qo


@pytest.mark.parametrize("kv_dtype", [None, "float8_e4m3fn"])
def test_ragged_new_tokens_are_the_end_of_each_request(kv_dtype: str | None) -> None:
    made = problem("attention.extend", kv_dtype=kv_dtype)
    ends = torch.tensor(made.lengths.kv).cumsum(0).tolist()
    rows = torch.cat([torch.arange(end - qo, end) for qo, end in zip(made.lengths.qo, ends, strict=True)])
    assert made.k.dtype == made.v.dtype == torch.bfloat16
    assert torch.equal(made.k.float(), made._keys.float()[rows])
    assert torch.equal(made.v.float(), made._values.float()[rows])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_edges_are_awkward(operation: str) -> None:
    plain = edge_lengths(workload(operation))
    windowed = edge_lengths(workload(operation, window_left=300))
    assert {1, 15, 16, 17, 63, 64, 65} <= {n for pair in zip(*plain, strict=True) for n in (*pair, pair[1] - pair[0])}
    assert all(1 <= qo <= kv for qo, kv in zip(*windowed, strict=True))
    assert max(windowed.kv) > 301
    if operation == "attention.extend":
        prefixes = [kv - qo for qo, kv in zip(*plain, strict=True)]
        assert 0 in prefixes
        assert max(prefixes) > 64


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("window", [1, 128, 4096, 8192, 60_000, 262_144, 50_000_000])
def test_edges_need_no_more_than_the_workload_or_a_window_of_8192(operation: str, window: int) -> None:
    plain = edge_lengths(workload(operation))
    small = workload(operation, window_left=window - 1)
    new = {"attention.decode": 1, "attention.prefill": 131072, "attention.extend": 512}[operation]
    large = small.model_copy(update={"batch": 16, "context": 131072, "new": new})
    for made, tested in ((small, 8192), (large, 60_000)):
        edges = edge_lengths(made)
        assert len(edges.kv) <= EDGE_REQUESTS
        # torch pads a batch to its longest request.
        assert len(edges.kv) * max(edges.kv) <= max(EDGE_REQUESTS * EDGE_LONGEST, made.batch * made.context)
        assert set(plain.kv) <= set(edges.kv)
        assert (max(edges.kv) > window) == (window <= tested)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=5),
    page_size=st.sampled_from([1, 2, 7, 16, 64]),
    first=st.lists(st.integers(0, 99), min_size=5, max_size=5),
)
def test_dropping_pages_keeps_what_is_seen(lengths: list[int], page_size: int, first: list[int]) -> None:
    shape = workload("attention.decode", head_dim=4, num_kv_heads=1, num_qo_heads=1)
    made = AttentionProblem(shape, Lengths((1,) * len(lengths), tuple(lengths)), "cpu", seed=0)
    whole = made.paged(page_size)
    start = [min(token, length - 1) for token, length in zip(first, lengths, strict=False)]
    seen = whole.seen_from(start)
    for request, (token, length) in enumerate(zip(start, lengths, strict=True)):
        dropped = length - seen.lengths[request]
        assert token - page_size < dropped <= token
        assert dropped % page_size == 0
        for back in range(1, length - token + 1):
            assert torch.equal(_key(seen, request, back), _key(whole, request, back))


def _key(pages: PagedKV, request: int, back: int) -> torch.Tensor:
    """The key ``back`` tokens before the end of a request."""
    start, stop = pages.indptr[request : request + 2].tolist()
    length = (stop - start - 1) * pages.page_size + int(pages.last_page_len[request])
    page = int(pages.indices[start + (length - back) // pages.page_size])
    return pages.k[page, (length - back) % pages.page_size]
