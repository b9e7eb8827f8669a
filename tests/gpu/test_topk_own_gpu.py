"""Our own top-k on a real GPU, beyond what tests/gpu/test_topk_gpu.py asks of every candidate: any k, any width, which
of equal scores are taken, equal bits, other lengths in a captured graph, NaN.
"""

from __future__ import annotations

import functools

import pytest
import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate, Device
from autotune_cli.kernels.topk.backends import _autotune_build
from autotune_cli.kernels.topk.problem import TopkProblem, make_problem
from autotune_cli.kernels.topk.reference import make_reference
from autotune_cli.kernels.topk.workload import TopkWorkload

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.skipif(_autotune_build.nvcc() is None, reason="needs nvcc"),
]

BACKEND = "autotune.topk"
# Rows no longer than k, of a width that is no multiple of a load, held by one block and by clusters, and wider ones.
WIDTHS = (1000, 4099, 16384, 65537, 262144, 700_000)
KINDS = ("normal", "equal", "zeros", "ascending", "infinite", "bf16")


@functools.cache
def device() -> Device:
    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


def candidates(workload: TopkWorkload) -> list[Candidate]:
    backend = REGISTRY.get(BACKEND)
    every = list(backend.candidates(workload, device()))
    assert backend.build is not None
    backend.build(workload, **dict(every[0].knobs))
    found = [each for each in every if backend.why_unsupported(workload, device(), each) is None]
    assert found
    return found


def run(problem: TopkProblem, candidate: Candidate) -> torch.Tensor:
    out: torch.Tensor = REGISTRY.get(BACKEND).prepare(problem, **dict(candidate.knobs))()  # type: ignore[operator]
    return out


def workload(**fields: object) -> TopkWorkload:
    given = {"operation": "topk.select", "rows": 3, "width": 65536, "k": 2048, "mode": "eager", "spread": "uneven"}
    return TopkWorkload.model_validate(given | {"distributions": KINDS} | fields)


def expected(problem: TopkProblem, tie_break: str) -> torch.Tensor:
    """Sorted positions [rows, k] of the selection that takes the first, or last, of equal scores; -1 before them."""
    width, k = problem.scores.shape[1], problem.k
    position = torch.arange(width, device="cuda")
    valid = position < problem.lengths[:, None]
    # Beyond what a score may be, so that a real -inf comes before a masked one.
    scores = problem.scores.double().clamp(-1e300, 1e300).add_(0.0).masked_fill_(~valid, -torch.inf)
    ordered = scores if tie_break == "small" else scores.flip(1)
    best = ordered.sort(dim=1, descending=True, stable=True).indices[:, :k]
    best = best if tie_break == "small" else width - 1 - best
    column = torch.arange(best.shape[1], device="cuda")
    chosen = torch.where(column < problem.lengths[:, None], best, -1)
    return torch.nn.functional.pad(chosen, (k - best.shape[1], 0), value=-1).sort(dim=1).values


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("k", [1, 7, 512, 2048, 4096])
@pytest.mark.parametrize("width", WIDTHS)
def test_any_k_of_any_width_with_either_tie_break_and_equal_bits(width: int, k: int, dtype: str) -> None:
    load = workload(width=width, k=k, dtype=dtype)
    wrong = []
    for kind in KINDS:
        problem = make_problem(load, kind, "cuda", 11)
        right = {tie_break: expected(problem, tie_break) for tie_break in ("small", "large")}
        for candidate in candidates(load):
            found = run(problem, candidate)
            if not torch.equal(found.sort(dim=1).values.long(), right[str(dict(candidate.knobs)["tie_break"])]):
                wrong.append(f"{candidate.key} on {kind}: {problem.check(found).message or 'other ties'}")
            elif not torch.equal(found, run(problem, candidate)):
                wrong.append(f"{candidate.key} on {kind}: other bits in a second run")
    assert not wrong, "\n".join(wrong)


def test_a_rows_bits_do_not_depend_on_the_batch() -> None:
    many = make_problem(workload(rows=64), "bf16", "cuda", 2)
    for candidate in candidates(many.workload):
        whole = run(many, candidate)
        few = TopkProblem(
            many.workload.model_copy(update={"rows": 2}),
            many.scores[5:7],
            many.lengths[5:7],
            False,
            "cuda",
            many.reference,
        )
        assert torch.equal(run(few, candidate), whole[5:7]), candidate.key


@pytest.mark.parametrize("width", [16384, 262144])
def test_a_captured_graph_obeys_the_lengths_of_its_replay(width: int) -> None:
    problem = make_problem(workload(rows=6, width=width), "normal", "cuda", 5)
    for candidate in candidates(problem.workload):
        launch = REGISTRY.get(BACKEND).prepare(problem, **dict(candidate.knobs))
        assert callable(launch)
        launch()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = launch()
        before = problem.lengths.clone()
        for lengths in ([width, 0, 2048, 2049, 1, width // 2], [5000] * 6, [width] * 6):
            problem.lengths.copy_(torch.tensor(lengths, dtype=torch.int32))
            # Whatever lay behind a row's length counts now.
            reference = make_reference(problem.scores, problem.lengths, problem.k)
            out.fill_(-7)
            graph.replay()
            judged = TopkProblem(problem.workload, problem.scores, problem.lengths, False, "cuda", reference)
            verdict = judged.check(out)
            assert verdict.ok, f"{candidate.key} at {lengths}: {verdict.message}"
        problem.lengths.copy_(before)


def test_rows_may_begin_anywhere() -> None:
    """A stride that no vector load fits, and a first score that none does."""
    whole = torch.randn(5, 20011, device="cuda")
    scores = whole[:, 3:20006]
    load = workload(rows=5, width=20003, k=512, spread="even")
    lengths = torch.full((5,), 20003, dtype=torch.int32, device="cuda")
    problem = TopkProblem(load, scores, lengths, True, "cuda", make_reference(scores, lengths, 512))
    for candidate in candidates(load):
        verdict = problem.check(run(problem, candidate))
        assert verdict.ok, f"{candidate.key}: {verdict.message}"


def test_nan_is_the_largest_as_it_is_to_torch() -> None:
    scores = torch.randn(3, 20000, device="cuda")
    scores[0, 5], scores[1, 7], scores[2, :3000] = torch.nan, -torch.nan, torch.nan
    load = workload(width=20000, k=512, spread="even")
    lengths = torch.full((3,), 20000, dtype=torch.int32, device="cuda")
    problem = TopkProblem(load, scores, lengths, True, "cuda", make_reference(scores, lengths, 512))
    best = scores.topk(512, dim=1).values.nan_to_num(nan=1e30).sort(dim=1).values
    for candidate in candidates(load):
        found = scores.gather(1, run(problem, candidate).long()).nan_to_num(nan=1e30)
        assert torch.equal(found.sort(dim=1).values, best), candidate.key
