"""Padding under piecewise CUDA graphs: what a fake request writes, what is found wrong with it, captured sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_cli.sglang.padding import (
    SCRATCH,
    Buffers,
    Int32,
    PadMode,
    PagedMetadata,
    capture_sizes,
    captured_size,
    padding_faults,
    write_fake_request,
)

SIZES = capture_sizes()
FIELDS = ("qo_indptr", "kv_indptr", "kv_indices", "last_page_len")
DIRT = 999


def starts(counts: list[int]) -> Int32:
    return np.cumsum([0, *counts]).astype(np.int32)


@st.composite
def batches(draw: st.DrawFn) -> PagedMetadata:
    """Mixed prefixes, requests without a prefix, with no new token, with one; pages shuffled over the pool."""
    page_size = draw(st.sampled_from([1, 16, 64]))
    prefixes, new_tokens = st.sampled_from([0, 0, 1, 15, 16, 17, 100]), st.sampled_from([0, 1, 1, 3, 16, 65])
    lens = draw(st.lists(st.tuples(prefixes, new_tokens), min_size=1, max_size=9))
    keys = [prefix + new for prefix, new in lens]
    counts = [-(-length // page_size) for length in keys]
    pool = draw(st.permutations(range(1, sum(counts) + 1)))
    last = [length - (count - 1) * page_size if count else 0 for length, count in zip(keys, counts, strict=True)]
    return PagedMetadata(
        starts([new for _, new in lens]),
        starts(counts),
        np.array(pool, dtype=np.int32),
        np.array(last, dtype=np.int32),
        page_size,
    )


def padded_in(plan: PagedMetadata, static: int, spare: int = 0) -> tuple[PagedMetadata, Buffers]:
    """The plan padded in buffers that held another batch, for ``spare`` requests more than it has."""
    pages = len(plan.kv_indices)
    sizes = (plan.batch + spare + 2, plan.batch + spare + 2, pages + static + 9, plan.batch + spare + 1)
    buffers = Buffers(*(np.full(size, DIRT, dtype=np.int32) for size in sizes))
    for name in FIELDS:
        values = getattr(plan, name)
        getattr(buffers, name)[: len(values)] = values
    batch, used = write_fake_request(buffers, plan.batch, pages, plan.tokens, static, plan.page_size)
    counts = (batch + 1, batch + 1, used, batch)
    parts = (getattr(buffers, name)[:count] for name, count in zip(FIELDS, counts, strict=True))
    return PagedMetadata(*parts, plan.page_size), buffers


# Exact, one short of the captured size, one over the size before, and anything.
PADDINGS = st.sampled_from([0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 100])


@settings(max_examples=150, deadline=None)
@given(batches(), PADDINGS, st.integers(0, 3))
def test_a_fake_request_takes_the_padding_and_nothing_else_changes(
    plan: PagedMetadata, padding: int, spare: int
) -> None:
    static = plan.tokens + padding
    padded, buffers = padded_in(plan, static, spare)
    assert padding_faults(plan, padded, static, "fake-request") == []
    assert padded.qo_indptr[-1] == static
    assert len(padded.qo_indptr) == len(padded.kv_indptr) == plan.batch + (2 if padding else 1)
    for real, whole in ((plan.qo_indptr, padded.qo_indptr), (plan.kv_indptr, padded.kv_indptr)):
        assert whole[: plan.batch + 1].tobytes() == real.tobytes()
    used = len(plan.kv_indices)
    assert padded.kv_indices[:used].tobytes() == plan.kv_indices.tobytes()
    assert (padded.kv_indices[used:] == SCRATCH).all()
    assert len(padded.kv_indices) == padded.kv_indptr[-1]
    # As many keys as tokens: with a causal mask each padded row sees at least one key.
    assert padded.kv_lens() == plan.kv_lens() + ([padding] if padding else [])
    # What lies beyond is left alone.
    for name in FIELDS:
        assert (getattr(buffers, name)[len(getattr(padded, name)) :] == DIRT).all()


@settings(max_examples=50, deadline=None)
@given(batches(), PADDINGS)
def test_a_narrowed_plan_is_the_plan(plan: PagedMetadata, padding: int) -> None:
    static = plan.tokens + padding
    assert padding_faults(plan, plan, static, "narrow") == []
    padded, _ = padded_in(plan, static)
    assert bool(padding_faults(plan, padded, static, "narrow")) == bool(padding)


@pytest.mark.parametrize("size", [4, 32, 48, 256, 288, 576, 1280, 4096])
def test_tokens_around_a_captured_size(size: int) -> None:
    following = next((larger for larger in SIZES if larger > size), None)
    assert captured_size(size, SIZES) == size
    assert captured_size(size - 1, SIZES) == size
    assert captured_size(size + 1, SIZES) == following


def test_no_tokens_and_too_many_run_eagerly() -> None:
    assert captured_size(0, SIZES) is None
    assert captured_size(1, SIZES) == 4
    assert captured_size(1, SIZES, at_most_double=True) is None
    assert captured_size(2, SIZES, at_most_double=True) == 4
    assert captured_size(4097, SIZES) is None


def test_captured_sizes_are_sglangs() -> None:
    assert SIZES[:9] == (4, 8, 12, 16, 20, 24, 28, 32, 48)
    assert list(SIZES) == sorted(set(SIZES))
    assert SIZES[-1] == 4096
    assert capture_sizes(6000)[-3:] == (4608, 5120, 5632)
    assert capture_sizes(50) == (4, 8, 12, 16, 20, 24, 28, 32, 48)


def example() -> PagedMetadata:
    """Two requests: one new token on a prefix of one, one token alone."""
    one = np.ones(2, dtype=np.int32)
    return PagedMetadata(starts([1, 1]), starts([2, 1]), np.array([1, 2, 3], dtype=np.int32), one)


def fault(change: str, mode: PadMode = "fake-request") -> list[str]:
    """The faults of correct metadata with one thing changed."""
    plan = example()
    padded, _ = padded_in(plan, 6)
    assert padding_faults(plan, padded, 6, mode) == []
    if change == "indptr":
        padded.qo_indptr[1] = 2
    elif change == "end":
        padded.qo_indptr[-1] = 5
    elif change == "index":
        padded.kv_indices[0] = 9
    elif change == "scratch":
        padded.kv_indices[-1] = 3
    elif change == "keys":
        padded.kv_indptr[-1] -= 1
    elif change == "owner":
        plan.kv_indices[0] = SCRATCH
    else:
        padded = plan
    return padding_faults(plan, padded, 6, mode)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("indptr", "qo_indptr of the real rows differs"),
        ("end", "qo_indptr ends at 5, not at 6"),
        ("index", "kv_indices of the real rows differs"),
        ("scratch", "outside of scratch slot 0"),
        ("keys", "3 keys for 4 tokens"),
        ("owner", "a request owns scratch slot 0"),
        ("unpadded", "2 requests, not 3"),
    ],
)
def test_each_fault_is_found(change: str, message: str) -> None:
    assert message in "; ".join(fault(change))


def test_more_tokens_than_captured_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tokens in a graph captured for 1"):
        padded_in(example(), 1)


def test_upstreams_units_would_be_found() -> None:
    """SGLang 0.5.10 counts the fake request's pages by the pool's page size but plans with pages of 1."""
    plan = example()
    padded, buffers = padded_in(plan, 34)
    batch, used = write_fake_request(buffers, 2, 3, 2, 34, page_size=16)
    ones = np.ones(batch, dtype=np.int32)
    indptrs = (np.asarray(buffers.qo_indptr)[: batch + 1], np.asarray(buffers.kv_indptr)[: batch + 1])
    padded = PagedMetadata(*indptrs, np.asarray(buffers.kv_indices)[:used], ones)
    assert any("2 keys for 32 tokens" in text for text in padding_faults(plan, padded, 34, "fake-request"))


def test_torch_buffers_are_only_filled() -> None:
    """The same writes on tensors: numbers into slices, so nothing is copied and nothing waits."""
    torch = pytest.importorskip("torch")
    buffers = Buffers(*(torch.full((12,), -1, dtype=torch.int32) for _ in range(4)))
    buffers.qo_indptr[0:2] = torch.tensor([0, 3], dtype=torch.int32)
    assert write_fake_request(buffers, 1, 5, 3, 8) == (2, 10)
    assert buffers.qo_indptr[0:3].tolist() == [0, 3, 8]
    assert buffers.kv_indices[5:10].tolist() == [0] * 5
    assert buffers.last_page_len[1:2].tolist() == [1]
