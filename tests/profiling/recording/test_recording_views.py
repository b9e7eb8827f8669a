"""Other views of a problem: a part of the batch, static queries, one that will be captured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recording_cases import CPU, DECODE, EXTEND, PAGE_SIZES, problem, workload

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.registry import REGISTRY, Prepared
from autotune_cli.kernels.topk.problem import make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.profiling.recording.batches import Batch, for_graphs, narrowed, part
from autotune_cli.profiling.recording.padded import Padded

OF_THE_BATCH = ("qo_indptr", "k", "v", "reference")


def ready(backend: str, made: Any, **knobs: Any) -> Prepared:
    found = REGISTRY.get(backend)
    shape = workload(made.lengths)
    candidate = next(one for one in found.candidates(shape, CPU) if knobs.items() <= dict(one.knobs).items())
    result = found.prepare(made, **dict(candidate.knobs))
    assert isinstance(result, Prepared)
    return result


@pytest.mark.parametrize("backend", ["torch.eager", "torch.sdpa"])
@pytest.mark.parametrize("lengths", [EXTEND, DECODE], ids=["extend", "decode"])
@pytest.mark.parametrize("requests", [(0, 2, 4), (1,), (3, 0), (0, 1, 2, 3)], ids=str)
def test_a_part_of_the_batch_has_its_rows(backend: str, lengths: Lengths, requests: tuple[int, ...]) -> None:
    """Attention of a request doesn't depend on the others."""
    requests = tuple(number for number in requests if number < len(lengths.qo))
    made = problem(lengths)
    whole = ready(backend, made).run().clone()
    view, rows = part(made, requests, 1)
    starts = [sum(lengths.qo[:number]) for number in requests]
    assert rows.tolist() == [
        start + token for start, number in zip(starts, requests, strict=True) for token in range(lengths.qo[number])
    ]
    assert view.lengths == Lengths(
        tuple(lengths.qo[number] for number in requests), tuple(lengths.kv[number] for number in requests)
    )
    assert torch.equal(view.q, made.q[rows])
    torch.testing.assert_close(ready(backend, view).run(), whole[rows], rtol=2e-2, atol=2e-2)
    # Bit for bit, where the kernel works request by request.
    assert torch.equal(ready(backend, view).run(), whole[rows])


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_a_part_keeps_its_pages(page_size: int) -> None:
    made = problem()
    view, _ = part(made, (1, 3), page_size)
    pages, whole = view.paged(page_size), made.paged(page_size)
    assert (pages.k.data_ptr(), pages.v.data_ptr()) == (whole.k.data_ptr(), whole.v.data_ptr())
    assert [table.tolist() for table in pages.tables] == [whole.tables[number].tolist() for number in (1, 3)]
    assert pages.lengths == tuple(made.lengths.kv[number] for number in (1, 3))
    assert pages.indptr.tolist() == [0, len(pages.tables[0]), len(pages.indices)]
    assert view.qo_indptr.tolist() == [0, 1, 18]


def padded(made: AttentionProblem) -> Batch:
    return Padded(made, torch.zeros(64, 4, 64), 1, pool=9).batch


@pytest.mark.parametrize("kind", ["part", "padded"])
def test_another_batch_shares_nothing_that_depends_on_the_batch(kind: str) -> None:
    made = problem()
    kept = {name: getattr(made, name) for name in OF_THE_BATCH}
    view = part(made, (0, 2), 1)[0] if kind == "part" else padded(made)
    assert view.qo_indptr.tolist() != kept["qo_indptr"].tolist()
    assert view._pages is not made._pages
    assert all(getattr(made, name) is value for name, value in kept.items())


@pytest.mark.parametrize("kind", ["part", "padded"])
@pytest.mark.parametrize("name", ["k", "v", "reference"])
def test_what_another_batch_can_not_know_is_refused(kind: str, name: str) -> None:
    """Ragged keys of another batch lie elsewhere: better none than wrong ones."""
    made = problem()
    view = part(made, (0, 2), 1)[0] if kind == "part" else padded(made)
    with pytest.raises(AttributeError, match=f"'Batch' object has no attribute '{name}'"):
        getattr(view, name)
    with pytest.raises(ValueError, match="a batch over pages of 1 has no pages of 16"):
        view.paged(16)


def test_static_queries_are_the_first_rows() -> None:
    made = problem()
    kept = {name: getattr(made, name) for name in OF_THE_BATCH}
    static = torch.randn(64, 4, 64).to(torch.bfloat16)
    view = narrowed(made, static)
    assert view.q.data_ptr() == static.data_ptr()
    assert view.q.shape == made.q.shape
    assert view.lengths == made.lengths
    # The same batch: all that depends on it stays.
    assert all(getattr(view, name) is value for name, value in kept.items())
    static[: made.q.shape[0]] = made.q
    static[made.q.shape[0] :] = float("nan")
    assert torch.equal(ready("torch.eager", view).run(), ready("torch.eager", made).run())


def test_a_problem_to_be_captured_is_the_same_one_with_a_flag() -> None:
    made = problem()
    pages = made.paged(16)
    view = for_graphs(made)
    assert (view.graph, made.graph) == (True, False)
    assert (view.q, view._keys, view._values) == (made.q, made._keys, made._values)
    assert view.paged(16) is pages
    # Pages that are made later are the same ones too.
    assert view.paged(1) is made.paged(1)
    assert type(view) is type(made)


def test_a_selection_to_be_captured() -> None:
    shape = TopkWorkload(operation="topk.select", rows=2, width=100, k=8, mode="eager")
    made = make_problem(shape, "normal", "cpu", 0)
    view = for_graphs(made)
    assert (view.graph, made.graph) == (True, False)
    assert view.scores is made.scores
    assert view.lengths is made.lengths
    assert view.reference is made.reference
    assert view.workload == shape.model_copy(update={"mode": "graph"})
