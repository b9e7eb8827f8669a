"""Which of equal scores a selection takes: those at the smallest positions, at the largest, or any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.topk.reference import TopkReference, row_chunks

if TYPE_CHECKING:
    from autotune_cli.kernels.properties import TieBreak

MEASURE = "rows with others of equal scores"
_PLACES = {"small": "smallest", "large": "largest"}


def judge_ties(
    positions: torch.Tensor,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    reference: TopkReference,
    tie_break: TieBreak,
    starts: torch.Tensor | None = None,
) -> Verdict:
    """Of the scores equal to the smallest that is selected, does each row take those at the smallest, or largest,
    positions?

    A kernel may take 0.0 and -0.0 for equal, or 0.0 for the larger, as an order of their bits has it.

    Args:
        positions: int32 [rows, k], a right selection: positions from ``starts`` on, -1 behind them.
    """
    rows, width = scores.shape
    wrong = torch.zeros(rows, dtype=torch.bool, device=scores.device)
    column = torch.arange(width, device=scores.device)
    for chunk in row_chunks(rows, 4 * width):
        threshold, ties = reference.threshold[chunk, None], reference.ties[chunk, None]
        within = column if starts is None else column - starts[chunk, None]
        picked = _picked(positions[chunk], scores[chunk], None if starts is None else starts[chunk])
        tied = (scores[chunk] == threshold) & (within >= 0) & (within < lengths[chunk, None])
        expected = _first(tied, ties, tie_break)
        negative = tied & torch.signbit(scores[chunk])
        positive = tied & ~negative
        above = torch.minimum(positive.sum(1, keepdim=True), ties)
        by_bits = _first(positive, above, tie_break) | _first(negative, ties - above, tie_break)
        taken = picked & tied
        wrong[chunk] = (taken != expected).any(1) & (taken != by_bits).any(1)
    count = int(wrong.sum())
    if not count:
        return Verdict(True, 0.0, 0.0, MEASURE)
    row = int(wrong.int().argmax())
    where = f"{count} of {rows} rows, such as row {row}"
    message = f"takes other than the {_PLACES[tie_break]} positions of equal scores in {where}"
    return Verdict(False, float(count), 0.0, MEASURE, message)


def _picked(positions: torch.Tensor, scores: torch.Tensor, starts: torch.Tensor | None) -> torch.Tensor:
    """bool [n, width]: is the score selected?"""
    width = scores.shape[1]
    columns = positions.long() if starts is None else positions.long() + starts[:, None]
    # What is none goes to a column of its own.
    columns = torch.where((positions >= 0) & (columns < width), columns, width)
    picked = torch.zeros(len(scores), width + 1, dtype=torch.bool, device=scores.device)
    return picked.scatter_(1, columns, True)[:, :width]


def _first(candidates: torch.Tensor, count: torch.Tensor, tie_break: TieBreak) -> torch.Tensor:
    """The ``count`` [n, 1] first of each row of ``candidates``, or the last ones."""
    seen = candidates.cumsum(1, dtype=torch.int32)
    if tie_break == "large":
        seen = seen[:, -1:] - seen + 1
    return candidates & (seen <= count)
