"""A batch of some of a problem's requests: what is right for it is what is right for them in the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.family import family
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Candidate, prepared
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.kernels.workload import AnyWorkload

GEOMETRY = Geometry(num_qo_heads=4, num_kv_heads=2, head_dim=16, dtype="float32")
LATENT = LatentGeometry(
    num_heads=2, kv_lora_rank=32, qk_rope_head_dim=16, qk_nope_head_dim=16, v_head_dim=16, dtype="float32"
)


def attention(operation: str, **fields: Any) -> AttentionWorkload:
    return AttentionWorkload.model_validate(
        {"operation": operation, "geometry": GEOMETRY, "batch": 4, "context": 50, "mode": "eager", **fields}
    )


def mla(operation: str, **fields: Any) -> MlaWorkload:
    return MlaWorkload.model_validate(
        {"operation": operation, "latent": LATENT, "batch": 4, "context": 50, "mode": "eager", **fields}
    )


def topk(operation: str, **fields: Any) -> TopkWorkload:
    return TopkWorkload.model_validate(
        {"operation": operation, "rows": 7, "width": 60, "k": 6, "mode": "eager", "spread": "uneven", **fields}
    )


CASES: list[tuple[AnyWorkload, Candidate]] = [
    (attention("attention.decode"), Candidate("torch.sdpa", (("kernel", "math"),))),
    (attention("attention.extend", new=20), Candidate("torch.sdpa", (("kernel", "math"),))),
    (attention("attention.verify", new=6, eagle_topk=2), Candidate("torch.eager", (("block", 1),))),
    (mla("attention.mla_decode"), Candidate("torch.mla", (("form", "products"),))),
    (mla("attention.mla_extend", new=9), Candidate("torch.mla", (("form", "products"),))),
    (mla("attention.mla_prefill", new=50), Candidate("torch.mla_prefill")),
    (mla("attention.mla_sparse_decode", index_topk=8), Candidate("torch.mla_sparse", (("block", 1),))),
    (topk("topk.select"), Candidate("torch.topk", (("sorted", True),))),
    (topk("topk.paged"), Candidate("torch.topk_transform")),
    (topk("topk.paged", page_size=4, requests=3, packed=True), Candidate("torch.topk_transform")),
    (topk("topk.paged", requests=3, batch_idx_list=True), Candidate("torch.topk_transform")),
    (topk("topk.ragged", requests=3, packed=True), Candidate("torch.topk_transform")),
    (topk("topk.indexer", page_size=4, index_heads=3, index_dim=8), Candidate("torch.indexer")),
]


def first_tensor(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize(("workload", "candidate"), CASES, ids=lambda case: getattr(case, "key", None))
def test_of_requests(workload: AnyWorkload, candidate: Candidate) -> None:
    made = family(workload.operation)
    whole: Any = made.make_problem(workload, made.cases(workload)[0], "cpu", 0)
    together = first_tensor(prepared(candidate, whole.view()).run())
    assert whole.check(together).ok
    for requests in ([1], [whole.batch - 1, 0]):
        part = whole.of_requests(requests)
        assert part.batch == len(requests)
        alone = first_tensor(prepared(candidate, part.view()).run())
        expected = together[whole.rows_of(requests)]
        assert len(alone) == sum(len(whole.rows_of([request])) for request in requests)
        torch.testing.assert_close(alone, expected)
        # With a reference of its own, and no tensor of the whole's among its inputs.
        assert part.check(alone).ok
        wrong = alone.clone()
        wrong[0] = wrong[0] + 1
        assert not part.check(wrong).ok
    twice = whole.of_requests([0, 0])
    alone = first_tensor(prepared(candidate, twice.view()).run())
    torch.testing.assert_close(alone, together[whole.rows_of([0, 0])])


@pytest.mark.parametrize(
    "workload",
    [workload for workload, _ in CASES if isinstance(workload, TopkWorkload)],
    ids=lambda workload: workload.key,
)
def test_another_batch_has_other_contents_in_the_same_shapes(workload: TopkWorkload) -> None:
    made = family(workload.operation)
    whole: Any = made.make_problem(workload, made.cases(workload)[0], "cpu", 0)
    other = whole.other_batch()
    mine, others = whole.inputs(), other.inputs()
    assert mine.keys() == others.keys()
    assert [tensor.shape for tensor in mine.values()] == [tensor.shape for tensor in others.values()]
    assert not torch.equal(whole.lengths, other.lengths)
    assert not torch.equal(whole.scores, other.scores)
    even = workload.model_copy(update={"spread": "even", "operation": "topk.select", "requests": None, "packed": False})
    full: Any = made.make_problem(even, made.cases(even)[0], "cpu", 0)
    assert torch.equal(full.lengths, full.other_batch().lengths)
    assert not torch.equal(full.scores, full.other_batch().scores)
