"""Selections that are wrong in one small thing: the kinds on which every candidate must be right show each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from autotune_cli.kernels.topk.problem import TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

K = 64


def _workload(operation: str, rows: int = 8, width: int = 1024, **fields: object) -> TopkWorkload:
    given = {"operation": operation, "rows": rows, "width": width, "k": K, "mode": "eager"}
    return TopkWorkload.model_validate(given | fields)


FULL = _workload("topk.select")
UNEVEN = _workload("topk.select", spread="uneven")
# Of a fused selection only the GPU knows the lengths, even where all rows of the timed case are as long.
PAGED = _workload("topk.paged", page_size=16)
PACKED = _workload("topk.paged", rows=12, width=4096, requests=4, packed=True)
RAGGED = _workload("topk.ragged", rows=12, width=4096, requests=4, packed=True)
LENGTHS_KNOWN_ON_THE_GPU = (UNEVEN, PAGED, PACKED, RAGGED)
ALL = (FULL, *LENGTHS_KNOWN_ON_THE_GPU)

Keys = Callable[[TopkProblem, torch.Tensor, torch.Tensor], torch.Tensor]
"""From scores float64 [rows, keys] in windows, and positions [keys], what is sorted by; NaN: never selected."""
Positions = Callable[[TopkProblem, torch.Tensor], torch.Tensor]
"""From a right selection's positions int64 [rows, k] other ones."""


def window(problem: TopkProblem) -> torch.Tensor:
    """Scores [rows, keys] of each row's window."""
    keys, layout = problem.workload.keys, problem.layout
    if layout is None or layout.row_starts is None:
        return problem.scores
    return problem.scores.gather(1, layout.row_starts[:, None].long() + torch.arange(keys))


def selected(problem: TopkProblem, keys: Keys | None = None, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """int64 [rows, k]: positions of the largest keys, of equal ones the first; -1 behind them."""
    lengths = problem.lengths if lengths is None else lengths
    scores, position = window(problem).double(), torch.arange(problem.workload.keys)
    key = scores if keys is None else keys(problem, scores, position)
    # Sorted apart from their ends, so that a real -inf comes before what is left out.
    key = (key.clamp(-1e300, 1e300) + 0.0).masked_fill((position >= lengths[:, None]) | key.isnan(), -torch.inf)
    best, found = key.sort(dim=1, descending=True, stable=True)
    found = found.masked_fill(best == -torch.inf, -1)[:, : problem.k]
    return torch.nn.functional.pad(found, (0, problem.k - found.shape[1]), value=-1)


def output(problem: TopkProblem, positions: torch.Tensor) -> torch.Tensor:
    """What the operation returns for these positions."""
    layout, inside = problem.layout, positions.clamp(min=0)
    if layout is None:
        found = positions
    elif layout.page_table is None:
        assert layout.topk_indices_offset is not None
        found = positions + layout.topk_indices_offset[:, None]
    else:
        size, table = problem.workload.page_size, layout.page_table[layout.row_to_table.long()]
        pages = table.gather(1, (inside // size).clamp(max=table.shape[1] - 1))
        found = pages * size + inside % size
    return torch.where(positions < 0, -1, found).int()


def noticed(workload: TopkWorkload, wrong: Callable[[TopkProblem], torch.Tensor]) -> list[str]:
    """The cases that show that a selection is wrong."""
    problems = {case: make_problem(workload, case, "cpu", 0) for case in cases(workload)}
    assert all(each.check(output(each, selected(each))).ok for each in problems.values())
    return [case for case, each in problems.items() if not each.check(output(each, wrong(each))).ok]


def by_keys(keys: Keys) -> Callable[[TopkProblem], torch.Tensor]:
    return lambda problem: selected(problem, keys)


def last_valid(problem: TopkProblem) -> torch.Tensor:
    return problem.lengths[:, None] - 1


def negative_zero(key: float) -> Keys:
    def keys(problem: TopkProblem, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return torch.where((scores == 0.0) & torch.signbit(scores), key, scores)

    return keys


WRONG_KEYS: dict[str, Keys] = {
    "bits of -0.0 above all": negative_zero(1e299),
    # As an order of bits has it whose sign is asked for by comparing with 0.0.
    "bits of -0.0 below all": negative_zero(-1e299),
    "the size alone": lambda problem, scores, position: scores.abs(),
    "half precision": lambda problem, scores, position: scores.half().double(),
    "bfloat16": lambda problem, scores, position: scores.bfloat16().double(),
    "-inf for a mark of nothing": lambda problem, scores, position: scores.masked_fill(scores == -torch.inf, torch.nan),
    "begins at the second score": lambda problem, scores, position: scores.masked_fill(position == 0, torch.nan),
    "ends before the last score": lambda problem, scores, position: scores.masked_fill(
        position == last_valid(problem), torch.nan
    ),
}


@pytest.mark.parametrize("workload", ALL, ids=lambda workload: workload.title)
@pytest.mark.parametrize("name", WRONG_KEYS)
def test_a_wrong_order_shows(name: str, workload: TopkWorkload) -> None:
    assert noticed(workload, by_keys(WRONG_KEYS[name]))


def test_a_wrong_order_shows_where_there_is_one_row() -> None:
    for name in ("bits of -0.0 above all", "bits of -0.0 below all", "begins at the second score"):
        assert noticed(_workload("topk.select", rows=1), by_keys(WRONG_KEYS[name])), name


def test_what_is_not_looked_at_beyond_a_column_shows() -> None:
    """Indices of 16 bits, in the one shape of a suite that has more columns."""

    def keys(problem: TopkProblem, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(position >= 1 << 16, torch.nan)

    assert noticed(_workload("topk.select", rows=1, width=(1 << 16) + 4096), by_keys(keys))


def ties(problem: TopkProblem) -> torch.Tensor:
    """A worse score in the place of the last one, where a score that isn't selected equals that one."""
    best = selected(problem)
    more = selected(replace(problem, workload=problem.workload.model_copy(update={"k": K + 1})))
    scores = window(problem).gather(1, more.clamp(min=0))
    tied = (more[:, K] >= 0) & (scores[:, K - 1] == scores[:, K])
    valid = torch.arange(problem.workload.keys) < problem.lengths[:, None]
    worst = window(problem).masked_fill(~valid, torch.inf).argmin(1)
    best[:, -1] = torch.where(tied, worst, best[:, -1])
    return best


def one_row(problem: TopkProblem) -> torch.Tensor:
    """The fifth row has the next position in the place of each."""
    found = selected(problem)
    found[4] = torch.where(found[4] < 0, -1, (found[4] + 1) % problem.lengths[4].clamp(min=1))
    return found


def twice(problem: TopkProblem) -> torch.Tensor:
    found = selected(problem)
    found[:, -1] = torch.where(found[:, -1] < 0, -1, found[:, 0])
    return found


def one_past(problem: TopkProblem) -> torch.Tensor:
    """The position behind the row's last in the place of the best."""
    found = selected(problem)
    found[:, 0] = torch.where(found[:, 0] < 0, -1, problem.lengths.long())
    return found


@pytest.mark.parametrize("workload", ALL, ids=lambda workload: workload.title)
@pytest.mark.parametrize("wrong", [ties, one_row, twice, one_past])
def test_a_wrong_index_shows(wrong: Callable[[TopkProblem], torch.Tensor], workload: TopkWorkload) -> None:
    assert noticed(workload, wrong)


def with_lengths(change: Callable[[torch.Tensor, TopkProblem], torch.Tensor]) -> Callable[[TopkProblem], torch.Tensor]:
    return lambda problem: selected(problem, lengths=change(problem.lengths, problem))


def padded(problem: TopkProblem) -> torch.Tensor:
    """A row with fewer scores than k ends with zeros."""
    return selected(problem).clamp(min=0)


def reversed_(problem: TopkProblem) -> torch.Tensor:
    """The -1s come first."""
    return selected(problem).flip(1)


WRONG_LENGTHS: dict[str, Callable[[TopkProblem], torch.Tensor]] = {
    "rows are full": with_lengths(lambda lengths, problem: torch.full_like(lengths, problem.workload.keys)),
    "as long as the first row": with_lengths(lambda lengths, problem: lengths[:1].expand(len(lengths))),
    "k at least": with_lengths(lambda lengths, problem: lengths.clamp(min=K)),
    "one at least": with_lengths(lambda lengths, problem: lengths.clamp(min=1)),
    "a multiple of four": with_lengths(lambda lengths, problem: lengths // 4 * 4),
    "zeros for unused places": padded,
    "unused places first": reversed_,
}


@pytest.mark.parametrize("workload", LENGTHS_KNOWN_ON_THE_GPU, ids=lambda workload: workload.title)
@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_wrong_lengths_show(name: str, workload: TopkWorkload) -> None:
    assert "lengths" in noticed(workload, WRONG_LENGTHS[name])
