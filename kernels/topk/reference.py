"""What a right top-k is, and how far an output is from it. All on the device of the scores, in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune_cli.kernels.family import Verdict

MEASURE = "wrong indices in the worst row"
# Elements a temporary tensor may have: 64 MB of float32, 128 MB of int64.
_CHUNK = 1 << 24


def row_chunks(rows: int, width: int) -> list[slice]:
    """Slices of ``rows`` whose ``[n, width]`` temporaries stay within the memory bound."""
    step = max(1, _CHUNK // max(1, width))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


@dataclass(frozen=True)
class TopkReference:
    """The multiset of scores to select, as each row's boundary: every score above ``threshold`` and ``ties`` of
    those equal to it. Nothing else has to be known to judge any choice among equal scores.
    """

    k: int
    need: torch.Tensor
    """int64 [rows]: min(k, length)."""
    threshold: torch.Tensor
    """[rows], of the scores' type: the smallest score to select; meaningless where ``need`` is 0."""
    ties: torch.Tensor
    """int64 [rows]: how many of the scores to select equal ``threshold``."""

    def of_rows(self, rows: Sequence[int]) -> TopkReference:
        """That of these rows, in their order."""
        kept = list(rows)
        return TopkReference(self.k, self.need[kept], self.threshold[kept], self.ties[kept])


def make_reference(
    scores: torch.Tensor, lengths: torch.Tensor, k: int, starts: torch.Tensor | None = None
) -> TopkReference:
    """The reference of ``scores`` [rows, width] of which ``lengths`` [rows] of each row count: the first, or those from
    ``starts`` [rows] on.

    Scores past a row's length are set to -inf. They may then tie with real scores of -inf, never beat them: the
    first ``need`` sorted values are the same whichever of them ``torch.topk`` took.
    """
    rows, width = scores.shape
    need = lengths.long().clamp(max=k)
    threshold = torch.empty(rows, dtype=scores.dtype, device=scores.device)
    ties = torch.empty(rows, dtype=torch.int64, device=scores.device)
    position = torch.arange(width, device=scores.device)
    for chunk in row_chunks(rows, width):
        within = position if starts is None else position - starts[chunk, None]
        masked = scores[chunk].masked_fill((within < 0) | (within >= lengths[chunk, None]), -torch.inf)
        best = masked.topk(min(k, width), dim=1).values
        count = need[chunk]
        threshold[chunk] = best.gather(1, (count - 1).clamp(min=0)[:, None])[:, 0]
        ties[chunk] = count - (best > threshold[chunk, None]).sum(1)
    return TopkReference(k, need, threshold, ties.clamp(min=0))


def judge(
    output: Any,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    reference: TopkReference,
    starts: torch.Tensor | None = None,
    to_positions: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Verdict:
    """Is ``output`` int32 [rows, k] a right selection? Indices count from ``starts`` [rows] on; of a fused selection
    ``to_positions`` makes them from what it returns.

    Right: indices reachable (0 <= index < length) and unique in their row, then -1 as a suffix; min(k, length) of
    them; their sorted scores equal to the reference's. Equal scores are interchangeable, and so are 0.0 and -0.0;
    NaN equals nothing. The error of a row is the number of missing scores, duplicates, unreachable indices and -1s
    before an index; that of an output which isn't such a tensor is k.
    """
    wrong = malformed(output, scores, reference.k)
    if wrong:
        return Verdict(False, float(reference.k), 0.0, MEASURE, wrong)
    rows = scores.shape[0]
    found = output if to_positions is None else to_positions(output)
    begins = torch.zeros_like(lengths) if starts is None else starts
    faults = torch.cat(
        [_faults(found[chunk], scores[chunk], lengths[chunk], begins[chunk], reference, chunk)
         for chunk in row_chunks(rows, 4 * reference.k)],
        dim=1,
    )  # fmt: skip
    per_row = faults.sum(0)
    worst = per_row.argmax()
    # One transfer: each is a synchronisation.
    summary = torch.cat([torch.stack([worst, (per_row > 0).sum(), reference.need[worst]]), faults[:, worst]])
    row, wrong_rows, need, missing, duplicate, unreachable, holes = (int(n) for n in summary.tolist())
    error = missing + duplicate + unreachable + holes
    if error == 0:
        return Verdict(True, 0.0, 0.0, MEASURE)
    parts = [f"misses {missing} of {need}"] if missing else []
    parts += [f"repeats {duplicate}"] if duplicate else []
    parts += [f"returns {unreachable} out of reach"] if unreachable else []
    parts += [f"has {holes} times -1 before an index"] if holes else []
    message = f"{', '.join(parts)} in row {row} ({wrong_rows} rows of {rows} wrong)"
    return Verdict(False, float(error), 0.0, MEASURE, message)


def malformed(output: Any, scores: torch.Tensor, k: int) -> str | None:
    """Why ``output`` can't be judged row by row, or None."""
    if not isinstance(output, torch.Tensor):
        return f"returned {type(output).__name__}, not a tensor"
    if output.dtype != torch.int32:
        return f"wrong dtype {str(output.dtype).removeprefix('torch.')}, expected int32"
    expected = (scores.shape[0], k)
    if tuple(output.shape) != expected:
        return f"wrong shape {list(output.shape)}, expected {list(expected)}"
    if output.device != scores.device:
        return f"on {output.device}, expected {scores.device}"
    return None


def _faults(
    output: torch.Tensor,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    starts: torch.Tensor,
    reference: TopkReference,
    chunk: slice,
) -> torch.Tensor:
    """int64 [4, n] for a chunk of n rows: missing scores, duplicates, unreachable indices, -1s before an index."""
    need, ties = reference.need[chunk], reference.ties[chunk]
    threshold = reference.threshold[chunk, None]
    filled = output != -1
    column = torch.arange(1, output.shape[1] + 1, device=output.device)
    holes = (filled * column).amax(1) - filled.sum(1)

    index = output.sort(dim=1).values
    reachable = (index >= 0) & (index < lengths[:, None])
    good = reachable.clone()
    good[:, 1:] &= index[:, 1:] != index[:, :-1]
    duplicate = (reachable & ~good).sum(1)
    unreachable = (~reachable & (index != -1)).sum(1)

    picked = scores.gather(1, (index.long() + starts[:, None]).clamp(0, scores.shape[1] - 1))
    above = (good & (picked > threshold)).sum(1)
    level = (good & (picked == threshold)).sum(1)
    missing = need - above - torch.minimum(level, ties)
    return torch.stack([missing, duplicate, unreachable, holes])
