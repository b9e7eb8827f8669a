"""Every kind of scores is what its name says, and the judge is exact on it: torch is right, a wrong index is wrong."""

from __future__ import annotations

import pytest
import torch

from autotune_cli.kernels.base import ALL_DISTRIBUTIONS, DISTRIBUTIONS
from autotune_cli.kernels.registry import REGISTRY, Device
from autotune_cli.kernels.topk.problem import GARBAGE, TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

K, WIDTH, ROWS = 64, 4096, 8
MORE = ALL_DISTRIBUTIONS[len(DISTRIBUTIONS) :]


def workload(rows: int = ROWS, width: int = WIDTH, k: int = K, **fields: object) -> TopkWorkload:
    given = {"operation": "topk.select", "rows": rows, "width": width, "k": k, "mode": "eager", **fields}
    return TopkWorkload(**{"distributions": ALL_DISTRIBUTIONS, **given})  # type: ignore[arg-type]


def drawn(case: str, seed: int = 1, **fields: object) -> TopkProblem:
    return make_problem(workload(**fields), case, "cpu", seed)  # type: ignore[arg-type]


def scores(case: str, **fields: object) -> torch.Tensor:
    return drawn(case, **fields).scores


def test_suites_keep_the_six_kinds_that_they_had() -> None:
    assert DISTRIBUTIONS == ("normal", "tie_free", "equal", "relu", "narrow", "infinite")
    assert ALL_DISTRIBUTIONS[:6] == DISTRIBUTIONS
    assert TopkWorkload.select(rows=1, width=2, k=1).key == "topk.select 1 x 2 k1 eager float32"


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("case", MORE)
def test_it_repeats_with_its_seed_and_has_no_nan(case: str, spread: str) -> None:
    one, again, other = (drawn(case, seed, spread=spread) for seed in (1, 1, 2))
    assert torch.equal(one.scores, again.scores)
    assert not torch.equal(one.scores, other.scores)
    assert not one.scores.isnan().any()
    beyond = torch.arange(WIDTH) >= one.lengths[:, None]
    assert bool(beyond.any()) is (spread == "uneven")
    assert (one.scores[beyond] == GARBAGE).all()


def test_denormals_are_no_zeros_and_no_normal_numbers() -> None:
    found = scores("denormal")
    assert ((found != 0) & (found.abs() < torch.finfo(torch.float32).tiny)).all()
    assert (found < 0).any()
    assert len(found[0].unique()) > 4000


def test_one_score_of_a_row_is_huge() -> None:
    found = scores("outlier")
    assert ((found.abs() > 1e30).sum(1) == 1).all()
    assert found[0].max() > 1e30
    assert found[1].min() < -1e30


@pytest.mark.parametrize("k", [1, K])
@pytest.mark.parametrize("spread", ["even", "uneven"])
def test_one_less_than_k_lie_above_the_plateau(spread: str, k: int) -> None:
    problem = drawn("plateau", spread=spread, k=k)
    valid = torch.arange(WIDTH) < problem.lengths[:, None]
    above = (problem.scores > 0.5) & valid
    assert (above.sum(1) == k - 1).all()
    assert (problem.scores[valid & ~above] == 0.5).all()
    assert (problem.reference.ties == 1).all()


def test_leading_bits_are_shared() -> None:
    for case, low in (("shared16", 16), ("shared24", 8)):
        bits = scores(case).view(torch.int32)
        assert len((bits >> low).unique()) == 1
        assert len((bits >> (low - 1)).unique()) == 2


def test_zeros_have_both_signs_and_some_must_be_taken() -> None:
    found = scores("zeros")
    zero = found == 0
    signs = torch.signbit(found[zero])
    assert signs.any()
    assert not signs.all()
    above = (found > 0).sum(1).tolist()
    assert above[0] < K < above[1]
    assert 0 < int((found[0] < 0).sum()) < WIDTH / 4


def test_rounded_scores_are_numbers_of_their_type() -> None:
    for case, dtype in (("bf16", torch.bfloat16), ("fp8", torch.float8_e4m3fn)):
        found = scores(case)
        assert torch.equal(found, found.to(dtype).float())
        assert (drawn(case).reference.ties > 1).any()


def test_exponential_scores_are_positive_with_a_long_tail() -> None:
    found = scores("exponential")
    assert (found > 0).all()
    assert 0.9 < float(found.mean()) < 1.1
    assert float(found.max()) > 7


def test_rows_are_sorted() -> None:
    assert (scores("ascending").diff(dim=1) >= 0).all()
    assert (scores("descending").diff(dim=1) <= 0).all()


def test_clusters_are_narrow_and_the_upper_one_is_smaller_or_larger_than_k() -> None:
    found = scores("clusters")
    assert ((found.abs() - 8).abs() < 0.01).all()
    above = (found > 0).sum(1).tolist()
    assert above[0] < K < above[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_largest_number_is_there_and_no_infinite_one(dtype: str) -> None:
    found = scores("largest", dtype=dtype)
    end = torch.finfo(found.dtype).max
    assert found.isfinite().all()
    assert float(found.max()) == end
    assert float(found.min()) == -end
    above = (found == end).sum(1).tolist()
    assert above[0] < K < above[2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("spread", ["even", "uneven"])
def test_torch_is_right_on_every_kind_and_one_lower_score_is_wrong(spread: str, dtype: str) -> None:
    load = workload(spread=spread, dtype=dtype)
    for case in cases(load):
        problem = make_problem(load, case, "cpu", 3)
        out = REGISTRY.get("torch.topk").prepare(problem, sorted=True)()  # type: ignore[operator]
        assert problem.check(out).ok, case
        # A score below the boundary in the place of the last one, where there is such a score.
        for row in range(ROWS):
            length = int(problem.lengths[row])
            lower = (problem.scores[row, :length] < problem.reference.threshold[row]).nonzero()[:, 0]
            if length <= K or not len(lower):
                continue
            wrong = out.clone()
            wrong[row, K - 1] = lower[0]
            verdict = problem.check(wrong)
            assert (verdict.ok, verdict.error) == (False, 1.0), (case, row)


def test_backends_are_right_on_a_row_of_a_million() -> None:
    load = workload(rows=1, width=1 << 20, k=2048, distributions=("shared24", "ascending"))
    for case in cases(load):
        problem = make_problem(load, case, "cpu", 0)
        for name in ("torch.topk", "torch.two_stage"):
            backend = REGISTRY.get(name)
            for candidate in list(backend.candidates(load, Device("cpu", "a CPU")))[:1]:
                assert problem.check(backend.prepare(problem, **dict(candidate.knobs))()).ok  # type: ignore[operator]
