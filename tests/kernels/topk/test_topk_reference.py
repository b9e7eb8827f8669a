from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.topk import reference
from autotune_cli.kernels.topk.reference import MEASURE, judge, make_reference

INF = float("inf")


def right(scores: torch.Tensor, lengths: torch.Tensor, k: int) -> torch.Tensor:
    """By a plain loop, apart from the code under test."""
    out = torch.full((scores.shape[0], k), -1, dtype=torch.int32)
    for row, length in enumerate(lengths.tolist()):
        order = sorted(range(length), key=lambda i: -float(scores[row, i]))
        out[row, : min(k, length)] = torch.tensor(order[:k], dtype=torch.int32)
    return out


def verdict(out: object, scores: torch.Tensor, lengths: torch.Tensor, k: int) -> Verdict:
    return judge(out, scores, lengths, make_reference(scores, lengths, k))


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores 3 x 20, lengths 20, 12, 3 and a right answer for k = 6."""
    scores = torch.randn(3, 20, generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([20, 12, 3], dtype=torch.int32)
    return scores, lengths, right(scores, lengths, 6)


def test_right_is_right(drawn) -> None:
    scores, lengths, out = drawn
    assert verdict(out, scores, lengths, 6) == Verdict(True, 0.0, 0.0, MEASURE)
    strided = torch.stack((out, out), 2).flatten(1)[:, ::2]
    assert not strided.is_contiguous()
    assert verdict(strided, scores, lengths, 6).ok


@pytest.mark.parametrize(
    ("row", "change", "error", "message"),
    [
        (0, lambda out, s: out.copy_(torch.tensor([*out[:5], s.argmin()])), 1, "misses 1 of 6 in row 0 (1 rows of 3"),
        (0, lambda out, s: out[1].copy_(out[0]), 2, "misses 1 of 6, repeats 1 in row 0"),
        (1, lambda out, s: out[0].fill_(12), 2, "misses 1 of 6, returns 1 out of reach in row 1"),
        (1, lambda out, s: out[0].fill_(20), 2, "misses 1 of 6, returns 1 out of reach in row 1"),
        (1, lambda out, s: out[0].fill_(-2), 2, "returns 1 out of reach"),
        (1, lambda out, s: out[0].fill_(2**31 - 1), 2, "returns 1 out of reach"),
        (0, lambda out, s: out[5].fill_(-1), 1, "misses 1 of 6 in row 0"),
        (0, lambda out, s: out[2].fill_(-1), 2, "misses 1 of 6, has 1 times -1 before an index"),
        (2, lambda out, s: out.copy_(torch.tensor([0, -1, 1, 2, -1, -1])), 1, "has 1 times -1 before an index in row"),
        (2, lambda out, s: out[4].fill_(2), 2, "repeats 1, has 1 times -1"),
        (2, lambda out, s: out[3].fill_(3), 1, "returns 1 out of reach in row 2"),
        (2, lambda out, s: out.fill_(-1), 3, "misses 3 of 3 in row 2"),
    ],
)
def test_each_violation_is_caught(drawn, row, change, error, message) -> None:
    scores, lengths, out = drawn
    change(out[row], scores[row])
    found = verdict(out, scores, lengths, 6)
    assert not found.ok
    assert (found.error, found.limit, found.measure) == (error, 0.0, MEASURE)
    assert message in found.message


def test_the_worst_row_is_told(drawn) -> None:
    scores, lengths, out = drawn
    out[0, 0] = out[0, 1]
    out[1] = -1
    found = verdict(out, scores, lengths, 6)
    assert found.message == "misses 6 of 6 in row 1 (2 rows of 3 wrong)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out.long(), "wrong dtype int64, expected int32"),
        (lambda out: out.float(), "wrong dtype float32, expected int32"),
        (lambda out: out[:, :5], "wrong shape [3, 5], expected [3, 6]"),
        (lambda out: out[:2], "wrong shape [2, 6], expected [3, 6]"),
        (lambda out: out[0], "wrong shape [6], expected [3, 6]"),
        (lambda out: (out, out), "returned tuple, not a tensor"),
        (lambda out: None, "returned NoneType, not a tensor"),
        (lambda out: out.to("meta"), "on meta, expected cpu"),
    ],
)
def test_what_is_no_selection(drawn, change, message) -> None:
    scores, lengths, out = drawn
    assert verdict(change(out), scores, lengths, 6) == Verdict(False, 6.0, 0.0, MEASURE, message)


def test_nan_never_passes() -> None:
    scores = torch.tensor([[1.0, float("nan"), 3.0, 2.0]])
    lengths = torch.tensor([4], dtype=torch.int32)
    for k in (1, 2, 4):
        for first in range(4):
            out = torch.tensor([[(first + j) % 4 for j in range(k)]], dtype=torch.int32)
            assert not verdict(out, scores, lengths, k).ok


def test_real_minus_infinity_is_a_score() -> None:
    scores = torch.tensor([[5.0, -INF, -INF, -INF, INF, INF]])
    lengths = torch.tensor([4], dtype=torch.int32)
    for out, ok in (([0, 1, 2], True), ([0, 3, 1], True), ([1, 2, 3], False), ([0, 1, 4], False), ([0, 1, -1], False)):
        assert verdict(torch.tensor([out], dtype=torch.int32), scores, lengths, 3).ok is ok


def test_rows_are_judged_in_chunks(drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, lengths, out = drawn
    monkeypatch.setattr(reference, "_CHUNK", 20)
    assert verdict(out, scores, lengths, 6).ok
    out[2, 0] = 3
    assert "in row 2" in verdict(out, scores, lengths, 6).message


_score = st.sampled_from([-INF, torch.finfo(torch.float32).min, -1.0, -0.0, 0.0, 1e-45, 0.5, 1.0, 1.0000001, INF])


@st.composite
def selections(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Scores full of ties, lengths, a right answer in any order, k; every row has a k or a length above 0."""
    rows, width, k = draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 10))
    row = st.lists(_score, min_size=width, max_size=width)
    scores = torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows)))
    lengths = torch.tensor(draw(st.lists(st.integers(0, width), min_size=rows, max_size=rows)), dtype=torch.int32)
    out = right(scores, lengths, k)
    for i, length in enumerate(lengths.tolist()):
        count = min(k, length)
        out[i, :count] = out[i, torch.tensor(draw(st.permutations(range(count))), dtype=torch.long)]
    return scores, lengths, out, k


@settings(max_examples=60, deadline=None)
@given(selections())
def test_any_order_of_a_right_answer_passes(selection) -> None:
    scores, lengths, out, k = selection
    assert verdict(out, scores, lengths, k).ok


@settings(max_examples=150, deadline=None)
@given(selections(), st.data())
def test_any_single_corruption_fails(selection, data: st.DataObject) -> None:
    scores, lengths, out, k = selection
    row, column = data.draw(st.integers(0, out.shape[0] - 1)), data.draw(st.integers(0, k - 1))
    before = int(out[row, column])
    value = data.draw(st.integers(-3, scores.shape[1] + 2).filter(lambda v: v != before))
    unused = 0 <= value < int(lengths[row]) and value not in out[row].tolist()
    # One change is harmless: an equal score that had not been taken.
    harmless = unused and before >= 0 and bool(scores[row, value] == scores[row, before])
    out[row, column] = value
    assert verdict(out, scores, lengths, k).ok is harmless
