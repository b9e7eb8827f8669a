"""Which of equal scores are taken, judged by hand-made rows."""

from __future__ import annotations

import pytest
import torch

from autotune_cli.kernels.properties import TieBreak
from autotune_cli.kernels.topk.problem import TopkProblem, make_problem
from autotune_cli.kernels.topk.reference import make_reference
from autotune_cli.kernels.topk.ties import judge_ties
from autotune_cli.kernels.topk.workload import TopkWorkload

ZERO, BELOW = 0.0, -0.0


def is_kept(
    row: list[float], taken: list[int], tie_break: TieBreak, length: int | None = None, start: int | None = None
) -> bool:
    scores = torch.tensor([row])
    lengths = torch.tensor([len(row) if length is None else length], dtype=torch.int32)
    starts = None if start is None else torch.tensor([start], dtype=torch.int32)
    reference = make_reference(scores, lengths, len(taken), starts)
    positions = torch.tensor([taken], dtype=torch.int32)
    return judge_ties(positions, scores, lengths, reference, tie_break, starts).ok


@pytest.mark.parametrize(
    ("row", "small", "large"),
    [
        ([5.0, 1.0, 1.0, 1.0], [1, 0, 2], [3, 2, 0]),
        ([1.0, 1.0, 1.0, 9.0], [3, 1, 0], [1, 3, 2]),
        ([2.0, 2.0, 2.0, 2.0], [2, 1, 0], [1, 2, 3]),
    ],
)
def test_the_first_or_the_last_in_any_order(row: list[float], small: list[int], large: list[int]) -> None:
    assert is_kept(row, small, "small")
    assert is_kept(row, large, "large")
    assert not is_kept(row, large, "small")
    assert not is_kept(row, small, "large")


def test_rows_without_a_choice_keep_both() -> None:
    for tie_break in ("small", "large"):
        assert is_kept([4.0, 3.0, 2.0, 1.0], [0, 1, 2], tie_break)  # type: ignore[arg-type]
        assert is_kept([1.0, 1.0, 1.0, 1.0], [0, 1, -1], tie_break, length=2)  # type: ignore[arg-type]


def test_only_a_rows_window_counts() -> None:
    assert is_kept([7.0, 7.0, 7.0, 7.0, 7.0], [0, 1], "small", length=3, start=1)
    assert is_kept([7.0, 7.0, 7.0, 7.0, 7.0], [1, 2], "large", length=3, start=1)
    assert not is_kept([7.0, 7.0, 7.0, 7.0, 7.0], [1, 2], "small", length=3, start=1)


def test_zeros_of_both_signs_are_equal_or_in_the_order_of_their_bits() -> None:
    row = [BELOW, ZERO, BELOW, ZERO]
    assert is_kept(row, [0, 1], "small")
    assert is_kept(row, [1, 3], "small")
    assert is_kept(row, [1, 3, 0], "small")
    assert not is_kept(row, [0, 3], "small")
    assert is_kept(row, [1, 3, 2], "large")
    assert not is_kept(row, [1, 3, 0], "large")


def test_the_message_says_where() -> None:
    problem = make_problem(
        TopkWorkload(operation="topk.select", rows=3, width=9, k=2, mode="eager", distributions=("equal",)),
        "equal", "cpu", 0,
    )  # fmt: skip
    verdict = problem.check_ties(torch.tensor([[0, 1], [1, 2], [1, 0]], dtype=torch.int32), "small")
    assert not verdict.ok
    assert verdict.message == "takes other than the smallest positions of equal scores in 1 of 3 rows, such as row 1"


def fused(operation: str, **fields: object) -> TopkProblem:
    given = {"operation": operation, "rows": 6, "width": 48, "k": 5, "mode": "eager", "spread": "uneven"}
    workload = TopkWorkload.model_validate({**given, "distributions": ("equal",), **fields})
    return make_problem(workload, "equal", "cpu", 0)


FUSED = [
    fused("topk.paged"),
    fused("topk.paged", page_size=4, requests=3, packed=True),
    fused("topk.paged", requests=2, batch_idx_list=True),
    fused("topk.ragged", requests=3, packed=True),
]


@pytest.mark.parametrize("problem", FUSED, ids=lambda problem: problem.workload.key)
def test_through_page_tables_and_offsets(problem: TopkProblem) -> None:
    from autotune_cli.kernels.topk.backends._transform import transform

    counts = problem.lengths[:, None]
    column = torch.arange(problem.k, dtype=torch.int32)
    first = torch.where(column < counts, column, -1)
    last = torch.where(column < counts, (counts - 1 - column).int(), -1)
    to_output = transform(problem)
    assert problem.check(to_output(first)).ok
    assert problem.check_ties(to_output(first), "small").ok
    assert problem.check_ties(to_output(last), "large").ok
    assert not problem.check_ties(to_output(last), "small").ok
