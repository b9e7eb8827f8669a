from __future__ import annotations

import pytest
import torch

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import DISTRIBUTIONS
from autotune_cli.kernels.family import family
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.topk.problem import GARBAGE, TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload


def workload(rows: int = 4, width: int = 4096, k: int = 64, **fields: object) -> TopkWorkload:
    return TopkWorkload(
        **{"operation": "topk.select", "rows": rows, "width": width, "k": k, "mode": "eager", **fields}  # type: ignore[arg-type]
    )


def problem(case: str, seed: int = 1, **fields: object) -> TopkProblem:
    return make_problem(workload(**fields), case, "cpu", seed)  # type: ignore[arg-type]


def test_family_finds_the_two_functions() -> None:
    module = family("topk.select")
    assert module.cases(workload()) == DISTRIBUTIONS
    assert module.make_problem(workload(), "normal", "cpu", 0).check(None).ok is False


def test_cases_are_the_distributions_in_order_and_lengths_where_they_differ() -> None:
    assert cases(workload(distributions=("relu", "normal"))) == ("relu", "normal")
    assert cases(workload(spread="uneven")) == (*DISTRIBUTIONS, "lengths")


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("case", [*DISTRIBUTIONS, "lengths"])
def test_every_case_has_the_shape_of_the_workload_and_repeats_with_its_seed(case: str, spread: str) -> None:
    if case not in cases(workload(spread=spread)):
        pytest.skip("no such case for even rows")
    one, again, other = (problem(case, seed, spread=spread) for seed in (1, 1, 2))
    assert one.scores.shape == (4, 4096)
    assert one.scores.dtype == torch.float32
    assert one.scores.is_contiguous()
    assert one.lengths.dtype == torch.int32
    assert torch.equal(one.scores, again.scores)
    assert torch.equal(one.lengths, again.lengths)
    assert case == "equal" or not torch.equal(one.scores, other.scores)
    assert one.full is (spread == "even")
    assert not one.scores.isnan().any()
    assert [t.data_ptr() for t in one.inputs().values()] == [one.scores.data_ptr(), one.lengths.data_ptr()]


def test_scores_past_a_length_are_garbage_that_would_win() -> None:
    for case in ("normal", "relu", "lengths"):
        uneven = problem(case, spread="uneven")
        beyond = torch.arange(4096) >= uneven.lengths[:, None]
        assert beyond.any()
        assert (uneven.scores[beyond] == GARBAGE).all()
        assert (uneven.scores[~beyond] < GARBAGE).all()


def test_tie_free_rows_are_permutations_of_distinct_values() -> None:
    rows = problem("tie_free").scores.sort(dim=1).values
    assert (rows[:, 1:] > rows[:, :-1]).all()
    assert torch.equal(rows[0], rows[1])
    wide = make_problem(workload(rows=1, width=1 << 20), "tie_free", "cpu", 0).scores.unique()
    assert len(wide) == 1 << 20


def test_distributions_are_what_they_say() -> None:
    k = 64
    assert len(problem("equal").scores.unique()) == 1
    narrow = problem("narrow").scores
    assert 1.0 <= float(narrow.min()) < float(narrow.max()) < 1.2451
    relu = problem("relu").scores
    positives = (relu > 0).sum(1).tolist()
    assert positives[0] < k < positives[1]
    # The first row is as of heads with negative weights.
    assert torch.signbit(relu[0][relu[0] == 0]).all()
    assert 0 < (relu[0] < 0).sum() < relu.shape[1] / 8
    assert not torch.signbit(relu[1:4]).any()
    assert max(positives) < relu.shape[1] / 4
    infinite = problem("infinite").scores
    reals = (infinite > -torch.inf).sum(1).tolist()
    assert reals[0] < k < reals[1]
    above = (infinite == torch.inf).sum(1).tolist()
    assert 0 < above[0] < k < above[2]


def test_edge_lengths_are_all_there_and_hold_real_infinities() -> None:
    edges = problem("lengths", rows=9, spread="uneven")
    assert {0, 1, 63, 64, 65, 4096} <= set(edges.lengths.tolist())
    longest = edges.scores[edges.lengths.tolist().index(4096)]
    assert (longest == -torch.inf).any()
    assert problem("lengths", rows=1, spread="uneven").lengths.tolist() == [65]
    assert problem("lengths", rows=8, width=16, spread="uneven").lengths.max() <= 16


def test_large_scores_are_drawn_in_chunks_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.kernels.topk import reference

    whole = problem("tie_free", rows=8)
    monkeypatch.setattr(reference, "_CHUNK", 3 * 4096)
    pieces = problem("infinite", rows=8, spread="uneven")
    assert (pieces.scores[6, : int(pieces.lengths[6])] == torch.inf).sum() > 64
    assert (problem("tie_free", rows=8).scores.sort(1).values == whole.scores.sort(1).values).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no case 'lengths'"):
        problem("lengths")
    with pytest.raises(ValueError, match=r"topk\.select takes float32 or bfloat16 scores, not float16"):
        problem("normal", dtype="float16")
    decode = AttentionWorkload(
        operation="attention.decode",
        geometry=Geometry(num_qo_heads=8, num_kv_heads=8, head_dim=64),
        batch=1,
        context=16,
        mode="eager",
    )
    with pytest.raises(TypeError, match=r"not a top-k workload: attention\.decode"):
        cases(decode)
    assert problem("normal", mode="graph").graph
