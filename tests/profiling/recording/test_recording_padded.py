"""A batch padded by a fake request, on tensors: metadata as made by hand, in buffers that are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_cases import PAGE_SIZES, geometry, problem, workload

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.profiling.recording.padded import Padded
from autotune_cli.sglang.padding import (
    SCRATCH,
    PagedMetadata,
    padding_faults,
)

FIELDS = ("qo_indptr", "kv_indptr", "kv_indices", "last_page_len")


def by_hand(made: AttentionProblem, page_size: int, padding: int = 0) -> PagedMetadata:
    """The plan from nothing but tables and lengths; padding is one request more, on page 0."""
    new, keys = list(made.lengths.qo), list(made.lengths.kv)
    pages = [table.tolist() for table in made.paged(page_size).tables]
    if padding:
        new, keys = [*new, padding], [*keys, padding]
        pages = [*pages, [0] * -(-padding // page_size)]
    last = [count - (len(own) - 1) * page_size for count, own in zip(keys, pages, strict=True)]
    listed = (np.cumsum([0, *new]), np.cumsum([0, *map(len, pages)]), [page for own in pages for page in own], last)
    return PagedMetadata(*(np.array(values, dtype=np.int32) for values in listed), page_size)


def same(first: PagedMetadata, second: PagedMetadata) -> None:
    for name in FIELDS:
        one, other = getattr(first, name), getattr(second, name)
        assert one.dtype == other.dtype == np.int32
        assert one.tolist() == other.tolist(), name


def of_batch(padded: Padded, page_size: int) -> PagedMetadata:
    """What a candidate plans from."""
    pages = padded.batch.paged(page_size)
    tensors = (padded.batch.qo_indptr, pages.indptr, pages.indices, pages.last_page_len)
    return PagedMetadata(*(tensor.numpy() for tensor in tensors), page_size)


def garble(padded: Padded) -> None:
    buffers = padded._buffers
    for buffer in (buffers.qo_indptr, buffers.kv_indptr, buffers.kv_indices, buffers.last_page_len):
        buffer.fill_(-7)  # type: ignore[attr-defined]


@st.composite
def batches(draw: st.DrawFn) -> Lengths:
    """Mixed prefixes, requests with one new token or without a prefix; no request without any."""
    pairs = st.tuples(st.sampled_from([0, 0, 1, 15, 16, 17, 64, 100]), st.sampled_from([1, 1, 3, 16, 65]))
    drawn = draw(st.lists(pairs, min_size=1, max_size=6))
    return Lengths(tuple(new for _, new in drawn), tuple(prefix + new for prefix, new in drawn))


@settings(max_examples=60, deadline=None)
@given(
    batches(),
    st.sampled_from(PAGE_SIZES),
    st.sampled_from([0, 1, 2, 15, 16, 17, 63, 64, 65]),
    st.integers(0, 3),
)
def test_the_buffers_hold_the_padded_plan(lengths: Lengths, page_size: int, padding: int, free: int) -> None:
    """Exact fit, one short, one over a page, a batch as large as the pool and a larger pool."""
    made = AttentionProblem(workload(head_dim=8, num_qo_heads=1, num_kv_heads=1), lengths, "cpu", 1)
    tokens = sum(lengths.qo) + padding
    static = torch.zeros(tokens, 1, 8)
    padded = Padded(made, static, page_size, pool=len(lengths.qo) + free)
    plain, found = padded.metadata()
    expected = by_hand(made, page_size)
    same(plain, expected)
    same(found, by_hand(made, page_size, padding))
    same(of_batch(padded, page_size), found)
    assert padding_faults(plain, found, tokens, "fake-request") == []
    assert padded.requests == len(lengths.qo) + (padding > 0)
    assert padded.pages == len(found.kv_indices)
    # The real rows' part is the unpadded plan, bit for bit.
    batch, used = expected.batch, len(expected.kv_indices)
    for name, count in zip(FIELDS, (batch + 1, batch + 1, used, batch), strict=True):
        assert getattr(found, name)[:count].tobytes() == getattr(expected, name).tobytes()
    assert SCRATCH not in expected.kv_indices
    assert (found.kv_indices[used:] == SCRATCH).all()


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("padding", [0, 5])
def test_refilling_after_garbage_gives_the_same(page_size: int, padding: int) -> None:
    made = problem()
    tokens = made.q.shape[0] + padding
    padded = Padded(made, torch.zeros(tokens, 4, 64), page_size, pool=len(made.lengths.qo))
    expected = by_hand(made, page_size, padding)
    garble(padded)
    for name in FIELDS:
        assert set(getattr(of_batch(padded, page_size), name).tolist()) == {-7}, "the batch must read the buffers"
    padded.write()
    same(padded.metadata()[1], expected)
    same(of_batch(padded, page_size), expected)


def test_writing_fills_what_is_there() -> None:
    """Nothing is allocated for a batch: the addresses stay."""
    made = problem()
    padded = Padded(made, torch.zeros(64, 4, 64), 1, pool=8)
    pages = padded.batch.paged(1)
    before = [tensor.data_ptr() for tensor in (padded.batch.qo_indptr, pages.indptr, pages.indices)]
    padded.write()
    assert [tensor.data_ptr() for tensor in (padded.batch.qo_indptr, pages.indptr, pages.indices)] == before
    assert padded.batch.paged(1) is pages


def test_an_exact_fit_adds_no_request() -> None:
    made = problem()
    tokens = sum(made.lengths.qo)
    padded = Padded(made, torch.zeros(tokens, 4, 64), 16, pool=len(made.lengths.qo))
    assert padded.requests == len(made.lengths.qo)
    assert padded.batch.lengths == made.lengths
    assert len(padded.batch.paged(16).tables) == len(made.lengths.qo)
    same(*padded.metadata())


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_the_fake_request_has_a_key_for_each_row(page_size: int) -> None:
    """Otherwise its leading rows see none, and come out as NaN: SGLang's mix-up of units."""
    made = problem()
    real = sum(made.lengths.qo)
    padded = Padded(made, torch.zeros(real + 33, 4, 64), page_size, pool=len(made.lengths.qo))
    view = padded.batch
    assert view.lengths == Lengths((*made.lengths.qo, 33), (*made.lengths.kv, 33))
    assert view.paged(page_size).tables[-1].tolist() == [SCRATCH] * -(-33 // page_size)
    assert padded.metadata()[1].kv_lens()[-1] == 33
    assert view.q.shape[0] == real + 33


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_of_a_windowed_layer_only_what_is_seen(page_size: int) -> None:
    """As it is planned without padding; what is padded with has no window's length."""
    made = problem(window_left=20)
    real = sum(made.lengths.qo)
    padded = Padded(made, torch.zeros(real + 33, 4, 64), page_size, pool=len(made.lengths.qo))
    plain, found = padded.metadata()
    first = [max(0, keys - new - 20) // page_size for new, keys in zip(*made.lengths, strict=True)]
    lens = [keys - pages * page_size for keys, pages in zip(made.lengths.kv, first, strict=True)]
    assert plain.kv_lens() == lens
    assert lens != list(made.lengths.kv) or page_size == 64
    assert found.kv_lens() == [*lens, 33]
    same(of_batch(padded, page_size), found)
    assert padding_faults(plain, found, real + 33, "fake-request") == []
    assert padded.batch.paged(page_size).seen_from([5] * padded.requests) is padded.batch.paged(page_size)


def test_more_tokens_than_the_graph_was_captured_for() -> None:
    made = problem()
    with pytest.raises(ValueError, match="39 tokens in a graph captured for 38"):
        Padded(made, torch.zeros(38, 4, 64), 1, pool=9)


def test_it_shares_the_cache_and_nothing_of_the_batch() -> None:
    made = problem()
    # All of them were asked for before.
    kept = (made.qo_indptr, made.k, made.v, made.reference)
    static = torch.zeros(sum(made.lengths.qo) + 3, 4, 64)
    view = Padded(made, static, 16, pool=9).batch
    assert view.q is static
    assert view.paged(16).k is made.paged(16).k
    assert view.paged(16).v is made.paged(16).v
    assert view.qo_indptr is not made.qo_indptr
    assert (made.qo_indptr, made.k, made.v, made.reference) == kept
    assert made.lengths == problem().lengths
    assert made.geometry == geometry()
