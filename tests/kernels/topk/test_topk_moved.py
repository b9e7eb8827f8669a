"""The same scores at another place in memory."""

from __future__ import annotations

import pytest
import torch

from autotune_cli.kernels.topk.problem import cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

EVEN = TopkWorkload(operation="topk.select", rows=3, width=300, k=16, mode="graph")
UNEVEN = EVEN.model_copy(update={"spread": "uneven"})


@pytest.mark.parametrize(
    ("workload", "case"),
    [(shape, case) for shape in (EVEN, UNEVEN) for case in cases(shape)],
    ids=lambda one: str(one)[:9],
)
def test_equal_values_in_other_tensors(workload: TopkWorkload, case: str) -> None:
    made = make_problem(workload, case, "cpu", 3)
    other = made.moved()
    for one, two in zip(made.inputs().values(), other.inputs().values(), strict=True):
        assert one.data_ptr() != two.data_ptr()
        assert torch.equal(one, two)
        assert (one.dtype, one.is_contiguous()) == (two.dtype, two.is_contiguous())
    assert other.reference is made.reference
    assert (other.workload, other.full, other.device) == (made.workload, made.full, made.device)
    assert (other.k, other.graph) == (made.k, made.graph)


def test_a_spoilt_copy_leaves_the_first_one_alone() -> None:
    made = make_problem(UNEVEN, "normal", "cpu", 3)
    scores, lengths = made.scores.clone(), made.lengths.clone()
    other = made.moved()
    other.scores.zero_()
    other.lengths.zero_()
    assert torch.equal(made.scores, scores)
    assert torch.equal(made.lengths, lengths)


def test_a_selection_is_judged_alike() -> None:
    made = make_problem(EVEN, "normal", "cpu", 3)
    other = made.moved()
    output = torch.topk(other.scores, other.k, dim=1).indices.to(torch.int32)
    assert made.check(output) == other.check(output)
    assert other.check(output).ok
    output[1, 0] = output[1, 1]
    assert not other.check(output).ok
