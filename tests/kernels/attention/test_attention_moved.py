"""The same inputs at another place in memory: equal values, other tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, logical, problem

from autotune_cli.kernels.attention.problem import AttentionProblem


def addresses(made: AttentionProblem) -> set[int]:
    return {tensor.data_ptr() for tensor in made.inputs().values()}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "values", [{}, {"kv_dtype": "float8_e4m3fn"}, FP8_QUERIES | {"sinks": True}, {"sinks": True}], ids=str
)
def test_equal_values_in_other_tensors(operation: str, values: dict[str, Any]) -> None:
    made = problem(operation, **values)
    # Made on demand, and kept.
    made.k, made.v, made.paged(16), made.paged(1)
    other = made.moved()
    for page_size in (1, 16):
        for one, two in zip(logical(made, page_size), logical(other, page_size), strict=True):
            assert torch.equal(one, two)
        # Also what lies around them: garbage, tables.
        assert torch.equal(made.paged(page_size).k.view(torch.uint8), other.paged(page_size).k.view(torch.uint8))
        assert torch.equal(made.paged(page_size).indices, other.paged(page_size).indices)
    assert (made.k_scale, made.v_scale) == (other.k_scale, other.v_scale)
    for name in ("q", "k", "v", "_keys", "_values", *(["sinks"] if "sinks" in values else [])):
        one, two = getattr(made, name), getattr(other, name)
        assert one.dtype == two.dtype
        assert torch.equal(one.contiguous().view(torch.uint8), two.contiguous().view(torch.uint8)), name
    assert not addresses(made) & addresses(other)
    assert len(addresses(made)) == len(addresses(other))


def test_pages_and_workspaces_are_made_anew() -> None:
    made = problem("attention.extend")
    pages, workspace = made.paged(16), made.workspace(64)
    other = made.moved()
    assert other._pages == {}
    assert other.paged(16) is not pages
    assert other.workspace(64).data_ptr() != workspace.data_ptr()
    assert not other.workspace(64).any()
    # And the first one keeps its own.
    assert made.paged(16) is pages
    assert made.workspace(64) is workspace
    assert 1 not in other._pages
    other.paged(1)
    assert 1 not in made._pages


def test_the_reference_is_kept() -> None:
    """It takes long, and depends on values alone."""
    made = problem("attention.decode")
    reference = made.reference
    other = made.moved()
    assert other.__dict__["reference"] is reference
    assert other.lengths == made.lengths
    assert (other.graph, other.device, other.geometry) == (made.graph, made.device, made.geometry)


def test_a_reference_that_was_not_asked_for_yet_is_the_same_one() -> None:
    made = problem("attention.prefill")
    other = made.moved()
    assert "reference" not in other.__dict__
    assert torch.equal(other.reference.out, made.reference.out)


def test_a_spoilt_copy_leaves_the_first_one_alone() -> None:
    made = problem("attention.extend")
    before = [tensor.clone() for tensor in (made.q, made._keys, made._values, made.paged(1).k)]
    other = made.moved()
    for tensor in other.inputs().values():
        tensor.zero_()
    other.paged(1).k.zero_()
    for old, new in zip(before, (made.q, made._keys, made._values, made.paged(1).k), strict=True):
        assert torch.equal(old, new)
