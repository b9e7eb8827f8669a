"""Padding under piecewise CUDA graphs: properties of the metadata."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_cli.profiling.padding import (
    SCRATCH,
    Buffers,
    PagedMetadata,
    capture_sizes,
    captured_size,
    narrow,
    pad_with_fake_request,
    padding_faults,
    plan_metadata,
    write_fake_request,
)

SIZES = capture_sizes()


@st.composite
def batches(draw: st.DrawFn) -> PagedMetadata:
    """Mixed prefixes, requests without a prefix, with no new token, with one; pages shuffled over the pool."""
    page_size = draw(st.sampled_from([1, 16, 64]))
    prefixes, new_tokens = st.sampled_from([0, 0, 1, 15, 16, 17, 100]), st.sampled_from([0, 1, 1, 3, 16, 65])
    lens = draw(st.lists(st.tuples(prefixes, new_tokens), min_size=1, max_size=9))
    seq_lens = [prefix + new for prefix, new in lens]
    counts = [-(-length // page_size) for length in seq_lens]
    pool = draw(st.permutations(range(1, sum(counts) + 1)))
    starts = np.cumsum([0, *counts])
    pages = [list(pool[start : start + count]) for start, count in zip(starts, counts, strict=False)]
    return plan_metadata(pages, seq_lens, [prefix for prefix, _ in lens], page_size)


# Exact, one short of the captured size, one over the size before, and anything.
PADDINGS = st.sampled_from([0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 100])


@settings(max_examples=150, deadline=None)
@given(batches(), PADDINGS)
def test_a_fake_request_takes_the_padding_and_nothing_else_changes(plan: PagedMetadata, padding: int) -> None:
    static = plan.tokens + padding
    padded = pad_with_fake_request(plan, static)
    assert padding_faults(plan, padded, static, "fake-request") == []
    assert padded.qo_indptr[-1] == static
    assert len(padded.qo_indptr) == len(padded.kv_indptr) == plan.batch + (2 if padding else 1)
    for real, whole in ((plan.qo_indptr, padded.qo_indptr), (plan.kv_indptr, padded.kv_indptr)):
        assert whole[: plan.batch + 1].tobytes() == real.tobytes()
    used = len(plan.kv_indices)
    assert padded.kv_indices[:used].tobytes() == plan.kv_indices.tobytes()
    assert (padded.kv_indices[used:] == SCRATCH).all()
    assert len(padded.kv_indices) == padded.kv_indptr[-1]
    assert SCRATCH not in plan.kv_indices
    # As many keys as tokens: with a causal mask each padded row sees at least one key.
    assert padded.kv_lens() == plan.kv_lens() + ([padding] if padding else [])


@settings(max_examples=100, deadline=None)
@given(batches(), PADDINGS)
def test_narrowing_leaves_the_plan_as_it_is(plan: PagedMetadata, padding: int) -> None:
    static = plan.tokens + padding
    narrowed, real, rest = narrow(plan, static)
    assert narrowed is plan
    assert (real.stop, rest.start, rest.stop) == (plan.tokens, plan.tokens, static)
    assert padding_faults(plan, narrowed, static, "narrow") == []


@settings(max_examples=100, deadline=None)
@given(batches(), PADDINGS, st.integers(0, 3))
def test_dirty_buffers_do_not_show(plan: PagedMetadata, padding: int, spare: int) -> None:
    """Buffers of an earlier, larger batch; a batch as large as the pool."""
    static = plan.tokens + padding
    buffers = Buffers.make(plan.batch + spare, len(plan.kv_indices), max(1, static))
    for buffer in (buffers.qo_indptr, buffers.kv_indptr, buffers.kv_indices, buffers.last_page_len):
        buffer[:] = 999
    padded = pad_with_fake_request(plan, static, buffers)
    assert padding_faults(plan, padded, static, "fake-request") == []


@settings(max_examples=50, deadline=None)
@given(batches(), PADDINGS.filter(bool))
def test_what_lies_beyond_the_padded_batch_is_left_alone(plan: PagedMetadata, padding: int) -> None:
    static = plan.tokens + padding
    buffers = Buffers.make(plan.batch + 3, len(plan.kv_indices) + 9, static)
    padded = pad_with_fake_request(plan, static, buffers)
    assert (np.asarray(buffers.qo_indptr)[plan.batch + 2 :] == -1).all()
    assert (np.asarray(buffers.kv_indices)[len(padded.kv_indices) :] == -1).all()


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


@pytest.mark.parametrize("tokens", [0, 1])
def test_no_token_and_one_token(tokens: int) -> None:
    plan = plan_metadata([[1]], [tokens], [0])
    padded = pad_with_fake_request(plan, 4)
    assert padding_faults(plan, padded, 4, "fake-request") == []
    assert padded.qo_indptr.tolist() == [0, tokens, 4]


def test_more_tokens_than_captured_are_refused() -> None:
    plan = plan_metadata([[1, 2, 3]], [3], [0])
    for pad in (pad_with_fake_request, narrow):
        with pytest.raises(ValueError, match="3 tokens in a graph captured for 2"):
            pad(plan, 2)


def test_a_plan_needs_its_pages() -> None:
    with pytest.raises(ValueError, match="on 1 pages of 16"):
        plan_metadata([[1]], [17], [0], 16)
    with pytest.raises(ValueError, match="5 cached of 3"):
        plan_metadata([[1]], [3], [5], 16)


def fault(change: str) -> list[str]:
    """The faults of correct metadata with one thing changed."""
    plan = plan_metadata([[1, 2], [3]], [2, 1], [1, 0])
    padded = pad_with_fake_request(plan, 6)
    assert padding_faults(plan, padded, 6, "fake-request") == []
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
    return padding_faults(plan, padded, 6, "fake-request")


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


def test_upstreams_units_would_be_found() -> None:
    """SGLang 0.5.10 counts the fake request's pages by the pool's page size but plans with pages of 1."""
    plan = plan_metadata([[5, 6]], [2], [0])
    buffers = Buffers.make(1, 2, 64)
    pad_with_fake_request(plan, 34, buffers)
    batch, used = write_fake_request(buffers, 1, 2, 2, 34, page_size=16)
    padded = PagedMetadata(
        np.asarray(buffers.qo_indptr)[: batch + 1],
        np.asarray(buffers.kv_indptr)[: batch + 1],
        np.asarray(buffers.kv_indices)[:used],
        np.ones(batch, dtype=np.int32),
    )
    assert any("2 keys for 32 tokens" in text for text in padding_faults(plan, padded, 34, "fake-request"))


def test_torch_buffers_are_only_filled() -> None:
    """The same writes on tensors: numbers into slices, so nothing is copied and nobody waits."""
    torch = pytest.importorskip("torch")
    buffers = Buffers(*(torch.full((12,), -1, dtype=torch.int32) for _ in range(4)))
    buffers.qo_indptr[0:2] = torch.tensor([0, 3], dtype=torch.int32)  # type: ignore[index]
    assert write_fake_request(buffers, 1, 5, 3, 8) == (2, 10)
    assert buffers.qo_indptr[0:3].tolist() == [0, 3, 8]
    assert buffers.kv_indices[5:10].tolist() == [0] * 5
    assert buffers.last_page_len[1:2].tolist() == [1]
