"""Fused selections: what is passed with the scores, what is right, and what each backend makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from autotune_cli.kernels.base import ALL_DISTRIBUTIONS, DISTRIBUTIONS
from autotune_cli.kernels.family import SuiteRequest
from autotune_cli.kernels.models import load_model
from autotune_cli.kernels.models.options import parse_operations
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device
from autotune_cli.kernels.shapes import Wanted
from autotune_cli.kernels.topk.family import FAMILY
from autotune_cli.kernels.topk.problem import GARBAGE, TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
# What SGLang passes: a decode step, a verification, an extend, and an extend of some requests of a larger table.
BATCHES: dict[str, list[dict[str, Any]]] = {
    "topk.paged": [
        {},
        {"page_size": 64},
        {"requests": 3},
        {"requests": 3, "packed": True},
        {"requests": 3, "packed": True, "page_size": 64},
        {"requests": 2, "batch_idx_list": True},
        {"requests": 3, "packed": True, "batch_idx_list": True},
    ],
    "topk.ragged": [{}, {"requests": 3}, {"requests": 3, "packed": True}],
}
EVERY = [(operation, batch) for operation, batches in BATCHES.items() for batch in batches]


def workload(operation: str, **fields: Any) -> TopkWorkload:
    given = {"operation": operation, "rows": 7, "width": 1500, "k": 64, "mode": "eager", "spread": "uneven"}
    return TopkWorkload(**(given | fields))


def problem(operation: str, case: str = "normal", **fields: Any) -> TopkProblem:
    return make_problem(workload(operation, **fields), case, "cpu", 3)


def expected(of: TopkProblem) -> list[list[int]]:
    """The right slots or indices of each row, best first, by the definition: one key at a time, ties by position."""
    load, layout = of.workload, of.layout
    assert layout is not None
    begins = layout.cu_seqlens_q.tolist()
    found = []
    for row in range(load.rows):
        request = next(number for number in range(load.request_count) if begins[number + 1] > row)
        start = request * load.keys if load.packed else 0
        window = of.scores[row, start : start + int(of.lengths[row])].tolist()
        best = sorted(range(len(window)), key=lambda position: -window[position])[: load.k]
        if layout.page_table is None:
            found.append([request * load.keys + position for position in best])
            continue
        listed = layout.batch_idx_list
        table = layout.page_table[request if listed is None else int(listed[request])].tolist()
        page = load.page_size
        found.append([table[position // page] * page + position % page for position in best])
    return found


def padded(rows: list[list[int]], k: int) -> torch.Tensor:
    return torch.tensor([[*row, *[-1] * (k - len(row))] for row in rows], dtype=torch.int32)


def other_request(of: TopkProblem, row: int, other: int, key: int) -> int:
    """Where another row's request has the key of the same position, each row being a request's."""
    layout, page = of.layout, of.workload.page_size
    assert layout is not None
    if layout.page_table is None:
        return key + (other - row) * of.workload.keys
    place = layout.page_table[row].tolist().index(key // page)
    return int(layout.page_table[other, place]) * page + key % page


@pytest.mark.parametrize(("operation", "batch"), EVERY, ids=str)
def test_the_judge_takes_what_is_right_by_definition_and_nothing_else(operation: str, batch: dict[str, Any]) -> None:
    for case in ("tie_free", "lengths"):
        drawn = problem(operation, case, **batch)
        rows = expected(drawn)
        right = padded(rows, 64)
        assert drawn.check(right).ok, case
        assert drawn.moved().check(right.flip(1).sort(dim=1, descending=True).values).ok
        row = max(range(7), key=lambda number: len(rows[number]))
        other = next(number for number in range(7) if set(rows[number]) - set(rows[row]) and number != row)
        for wrong in (rows[row][1], max(map(max, filter(None, rows))) + 10**6, -3, 2**31 - 1):
            changed = right.clone()
            changed[row, 0] = wrong
            assert not drawn.check(changed).ok, (case, wrong)
        if drawn.workload.request_count == 7:
            # Another request's key, though its row has it.
            changed = right.clone()
            changed[row, 0] = next(iter(set(rows[other]) - set(rows[row])))
            assert not drawn.check(changed).ok
            # The same position of the other request's keys: it differs in whose it is.
            swapped = right.clone()
            at = next(place for place, key in enumerate(rows[row]) if key not in rows[other])
            swapped[row, at] = other_request(drawn, row, other, rows[row][at])
            assert "out of reach" in drawn.check(swapped).message
        hole = right.clone()
        hole[row, 0] = -1
        assert "-1 before an index" in drawn.check(hole).message


@pytest.mark.parametrize(("operation", "batch"), EVERY, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_is_right_on_every_kind(operation: str, batch: dict[str, Any], dtype: str) -> None:
    for k in (64, 2000):
        load = workload(operation, dtype=dtype, k=k, distributions=ALL_DISTRIBUTIONS, **batch)
        for case in cases(load):
            drawn = make_problem(load, case, "cpu", 1)
            before = {name: tensor.clone() for name, tensor in drawn.inputs().items()}
            verdict = drawn.check(REGISTRY.get("torch.topk_transform").prepare(drawn)())  # type: ignore[operator]
            assert verdict.ok, (case, verdict.message)
            assert all(torch.equal(before[name], tensor) for name, tensor in drawn.inputs().items())


def run(drawn: TopkProblem, candidate: Candidate) -> torch.Tensor:
    return REGISTRY.get(candidate.backend).prepare(drawn, **dict(candidate.knobs))()  # type: ignore[operator, no-any-return]


def supported(name: str, load: TopkWorkload) -> Iterator[Candidate]:
    backend = REGISTRY.get(name)
    return (each for each in backend.candidates(load, H200) if backend.why_unsupported(load, H200, each) is None)


@pytest.mark.parametrize(("operation", "batch"), EVERY, ids=str)
def test_what_is_passed_to_flashinfer_means_the_same_to_it(
    fake_flashinfer: Any, operation: str, batch: dict[str, Any]
) -> None:
    name = {"topk.paged": "flashinfer.top_k_page_table_transform", "topk.ragged": "flashinfer.ragged_transform"}
    # One of the paged transform's is refused.
    count = {"topk.paged": 15, "topk.ragged": 16}[operation]
    for case in ("normal", "equal", "lengths"):
        drawn = problem(operation, case, **batch)
        found = list(supported(name[operation], drawn.workload))
        assert len(found) == count
        for candidate in found:
            verdict = drawn.check(run(drawn, candidate))
            assert verdict.ok, (candidate.key, case, verdict.message)
    seen = [tuple(call.values()) for call in fake_flashinfer.calls[-count:]]
    assert len(set(seen)) == count
    assert (None, False, 2, False) in seen
    assert (None, False, 0, True) in seen


@pytest.mark.parametrize(("operation", "batch"), EVERY, ids=str)
def test_what_is_passed_to_sgl_kernel_means_the_same_to_it(
    fake_sgl_kernel: None, operation: str, batch: dict[str, Any]
) -> None:
    ending = {"topk.paged": "transform_fused", "topk.ragged": "transform_ragged_fused"}[operation]
    name = f"sgl_kernel.fast_topk_{ending}"
    load = workload(operation, k=2048, rows=4, width=9000, **batch)
    if batch.get("page_size"):
        backend = REGISTRY.get(name)
        reason = backend.why_unsupported(load, H200, Candidate(name))
        assert reason == "takes a page table of single keys, this has pages of 64"
        return
    assert list(supported(name, load)) == [Candidate(name)]
    for case in ("normal", "lengths"):
        drawn = make_problem(load, case, "cpu", 2)
        verdict = drawn.check(run(drawn, Candidate(name)))
        assert verdict.ok, verdict.message
    for other in ({"k": 512}, {"dtype": "bfloat16"}):
        assert not list(supported(name, workload(operation, **({"k": 2048} | other))))


def test_windows_hold_the_rows_scores_and_garbage_lies_around_them() -> None:
    drawn = problem("topk.paged", requests=3, packed=True, distributions=("normal",))
    layout = drawn.layout
    assert layout is not None
    assert layout.row_starts is not None
    assert layout.row_starts.tolist() == [0, 0, 0, 500, 500, 1000, 1000]
    assert layout.cu_seqlens_q.tolist() == [0, 3, 5, 7]
    lengths = drawn.lengths.tolist()
    # Each query sees one key more than the one before it.
    assert [lengths[1] - lengths[0], lengths[2] - lengths[1], lengths[4] - lengths[3]] == [1, 1, 1]
    inside = torch.arange(1500) - layout.row_starts[:, None]
    inside = (inside >= 0) & (inside < drawn.lengths[:, None])
    assert (drawn.scores[inside].abs() < 10).all()
    assert (drawn.scores[~inside] == GARBAGE).all()
    edges = problem("topk.paged", "lengths", requests=3, packed=True)
    assert max(edges.lengths.tolist()) <= 500


def test_pages_belong_to_one_request_each_and_page_0_to_none() -> None:
    layout = problem("topk.paged", page_size=64, requests=2, batch_idx_list=True).layout
    assert layout is not None
    assert layout.page_table is not None
    assert layout.batch_idx_list is not None
    assert layout.page_table.shape == (4, 24)
    assert sorted(layout.page_table.flatten().tolist()) == list(range(1, 97))
    assert len(set(layout.batch_idx_list.tolist())) == 2
    assert set(layout.row_to_table.tolist()) == set(layout.batch_idx_list.tolist())


def test_candidates_see_all_that_sglang_passes_and_nothing_of_the_judges() -> None:
    given = problem("topk.paged", requests=2, packed=True, batch_idx_list=True).inputs()
    names = {"scores", "lengths", "cu_seqlens_q", "row_to_table", "row_starts", "page_table", "batch_idx_list"}
    assert given.keys() == names
    assert problem("topk.ragged").inputs().keys() == {
        "scores", "lengths", "cu_seqlens_q", "row_to_table", "topk_indices_offset"
    }  # fmt: skip
    assert all(tensor.dtype == torch.int32 for name, tensor in given.items() if name != "scores")


@pytest.mark.parametrize(
    ("operation", "fields", "said"),
    [
        ("topk.select", {"page_size": 64}, "only topk.paged and topk.indexer have pages"),
        ("topk.ragged", {"page_size": 64}, "only topk.paged and topk.indexer have pages"),
        ("topk.ragged", {"batch_idx_list": True}, "only topk.paged and topk.indexer have pages"),
        ("topk.select", {"requests": 2}, "only fused selections have requests"),
        ("topk.paged", {"page_size": 48}, "no power of two"),
        ("topk.paged", {"requests": 8}, "more requests than rows"),
        ("topk.paged", {"packed": True}, "packed rows are of several requests"),
    ],
)
def test_workloads_that_make_no_sense(operation: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        workload(operation, **fields)


def test_keys_tell_batches_apart_and_are_what_they_were_for_plain_selections() -> None:
    assert TopkWorkload.select(rows=3, width=9, k=2).key == "topk.select 3 x 9 k2 eager float32"
    keys = {workload(operation, **batch).key for operation, batch in EVERY}
    assert len(keys) == len(EVERY)
    key = "topk.paged 7 x 1500 uneven page64 3 requests packed k64 eager float32"
    assert workload("topk.paged", requests=3, packed=True, page_size=64).key == key


def test_suites_have_them_only_by_their_full_names() -> None:
    assert "topk.select" in parse_operations(None)
    assert not {"topk.paged", "topk.ragged"} & {*parse_operations(None), *parse_operations("topk")}
    assert parse_operations("topk.paged,topk") == ("topk.select", "topk.paged")
    model = load_model("deepseek-v3.2")
    request = SuiteRequest("cuda", Wanted(None, None, None), (), None, DISTRIBUTIONS)
    paged = FAMILY.workloads(model, "topk.paged", "graph", request)
    decodes = [each for each in paged if not each.packed]
    shapes = {(each.rows, each.width, each.page_size) for each in decodes}
    assert shapes == {(r, w, p) for r in (4, 16, 64) for w in (8192, 65536, 131072) for p in (1, 64)}
    assert {each.k for each in paged} == {2048}
    assert all(each.packed and each.requests == 4 for each in FAMILY.workloads(model, "topk.ragged", "eager", request))
    few = SuiteRequest("cuda", Wanted((2,), (4096,), None), (), None, DISTRIBUTIONS)
    assert [each.shape for each in FAMILY.workloads(model, "topk.paged", "eager", few)] == ["2 x 4096"] * 2
    assert FAMILY.workloads(model, "topk.ragged", "eager", few) == []


def test_the_matrix_has_each_way_to_pass_them() -> None:
    for operation, count in (("topk.select", 3), ("topk.paged", 4), ("topk.ragged", 2)):
        for kind in ("cuda", "cpu"):
            found = FAMILY.checks(operation, kind)  # type: ignore[arg-type]
            assert len({each.key for each in found}) == len(found) == count
            assert all(each.distributions == ALL_DISTRIBUTIONS for each in found)


def test_cost_and_memory_count_the_page_table() -> None:
    plain, small, large = (
        TopkWorkload(operation=operation, rows=4, width=8192, k=64, mode="eager", page_size=page)  # type: ignore[arg-type]
        for operation, page in (("topk.select", 1), ("topk.paged", 1), ("topk.paged", 64))
    )
    assert FAMILY.cost(small).bytes == FAMILY.cost(plain).bytes + 4 * 64 * 4
    assert FAMILY.cost(large).bytes == FAMILY.cost(plain).bytes + 4 * 1 * 4
    assert FAMILY.memory_bytes(small) > FAMILY.memory_bytes(plain)
