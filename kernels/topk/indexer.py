"""A sparse indexer's decode step: FP8 queries, FP8 keys in pages, and the exact scores that they make.

A score is the sum over heads of ``weights * max(0, query . key)``, times the key's scale. How its inputs lie in memory
is DeepGEMM's rule (``tests/test_attention.py``: ``kv_cache_cast_to_fp8``), which SGLang and vLLM follow: a page holds
the numbers of all of its keys, then their float32 scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.topk.reference import MEASURE, TopkReference, malformed, row_chunks
from autotune_cli.kernels.topk.workload import TopkWorkload

FP8 = torch.float8_e4m3fn
_LARGEST = 448.0
# What a slot holds that is no key's: kernels may read whole pages, and finite scores above all others show.
_GARBAGE_SCALE = 1e3
# How far a kernel's score may lie from the exact one, relative to the largest of the row: Hopper sums FP8 products with
# 14 bits, and sums over 64 heads come in any order. A selection may then differ among scores that are this close.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class IndexerInputs:
    """What the scores of a batch are computed from."""

    q: torch.Tensor
    """float8_e4m3fn [rows, heads, dim]."""
    weights: torch.Tensor
    """float32 [rows, heads]; the queries' scales are part of them."""
    cache: torch.Tensor
    """uint8 [pages, page size, 1, dim + 4]."""

    def inputs(self) -> dict[str, torch.Tensor]:
        return {"q": self.q, "weights": self.weights, "cache": self.cache}

    def of_rows(self, rows: Sequence[int]) -> IndexerInputs:
        """Of some requests; the cache stays."""
        return replace(self, q=self.q[list(rows)], weights=self.weights[list(rows)])

    def moved(self) -> IndexerInputs:
        return IndexerInputs(self.q.clone(), self.weights.clone(), self.cache.clone())

    def scores_of(self, row: int, pages: torch.Tensor) -> torch.Tensor:
        """float32 [keys]: the scores of all keys in these pages [pages] for a row, by plain float32 products."""
        page, dim = self.cache.shape[1], self.q.shape[2]
        held = self.cache[pages.long()].reshape(len(pages), -1)
        keys = held[:, : page * dim].reshape(-1, dim).view(FP8).float()
        scales = held[:, page * dim :].contiguous().view(torch.float32).reshape(-1)
        products = torch.relu(keys @ self.q[row].float().T)
        found: torch.Tensor = (products @ self.weights[row]) * scales
        return found


def draw_indexer(workload: TopkWorkload, table: torch.Tensor, lengths: torch.Tensor, seed: int) -> IndexerInputs:
    """Normal queries, keys and weights; keys of ``table`` [rows, pages] up to ``lengths`` [rows], garbage elsewhere."""
    heads, dim, page = workload.index_heads, workload.index_dim, workload.page_size
    assert heads is not None
    assert dim is not None
    device = table.device
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    q = normal(workload.rows, heads, dim).to(FP8)
    weights = normal(workload.rows, heads) * (heads * dim) ** -0.5
    cache = torch.empty(table.numel() + 1, page * (dim + 4), dtype=torch.uint8, device=device)
    cache[:, : page * dim].view(FP8).fill_(_LARGEST)
    cache[:, page * dim :] = torch.full((page,), _GARBAGE_SCALE, device=device).view(torch.uint8)
    for pages, length in zip(table.long(), lengths.tolist(), strict=True):
        keys = normal(len(pages) * page, dim)
        scales = keys.abs().amax(1) / _LARGEST
        numbers = (keys / scales[:, None]).to(FP8)
        # Behind the row's keys the garbage stays.
        numbers[length:] = _LARGEST
        scales[length:] = _GARBAGE_SCALE
        cache[pages, : page * dim] = numbers.view(torch.uint8).reshape(len(pages), -1)
        cache[pages, page * dim :] = scales.view(torch.uint8).reshape(len(pages), -1)
    return IndexerInputs(q, weights, cache.view(len(cache), page, 1, dim + 4))


def exact_scores(inputs: IndexerInputs, table: torch.Tensor, width: int) -> torch.Tensor:
    """float32 [rows, width]; see :meth:`IndexerInputs.scores_of`."""
    scores = torch.empty(len(table), width, device=table.device)
    for row, pages in enumerate(table):
        scores[row] = inputs.scores_of(row, pages)[:width]
    return scores


def judge_near(
    output: object,
    positions: torch.Tensor | None,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    reference: TopkReference,
) -> Verdict:
    """Is an output right whose scores were the kernel's own?

    Right: as :func:`autotune_cli.kernels.topk.reference.judge` has it, but that of scores closer to the boundary than
    :data:`TOLERANCE` of the row's largest one either may be taken.

    Args:
        positions: int32 [rows, k] of the output; None: it is no such tensor.
    """
    wrong = malformed(output, scores, reference.k)
    if wrong or positions is None:
        return Verdict(False, float(reference.k), 0.0, MEASURE, wrong or "")
    faults = torch.cat([_faults(positions, scores, lengths, reference, rows) for rows in row_chunks(*scores.shape)], 1)
    per_row = faults.sum(0)
    row = int(per_row.argmax())
    if not int(per_row[row]):
        return Verdict(True, 0.0, 0.0, MEASURE)
    missing, low, other = faults[:, row].tolist()
    message = (
        f"misses {missing} of {int(reference.need[row])}, takes {low} below the boundary, {other} others are no keys"
    )
    count = int((per_row > 0).sum())
    whole = f"{message} in row {row} ({count} rows of {len(scores)} wrong)"
    return Verdict(False, float(per_row[row]), 0.0, MEASURE, whole)


def _faults(
    positions: torch.Tensor, scores: torch.Tensor, lengths: torch.Tensor, reference: TopkReference, rows: slice
) -> torch.Tensor:
    """int64 [3, n]: certain ones that are missing, certain others that are taken, what is no key or there twice."""
    found, near, need = positions[rows], scores[rows], reference.need[rows]
    valid = torch.arange(scores.shape[1], device=scores.device) < lengths[rows, None]
    slack = TOLERANCE * near.abs().masked_fill(~valid, 0.0).amax(1, keepdim=True)
    threshold = reference.threshold[rows, None]
    index = found.sort(dim=1).values
    good = (index >= 0) & (index < lengths[rows, None])
    good[:, 1:] &= index[:, 1:] != index[:, :-1]
    picked = near.gather(1, index.long().clamp(0, scores.shape[1] - 1))
    above = valid & (near > threshold + slack)
    low = (good & (picked < threshold - slack)).sum(1)
    missed = above.sum(1) - (good & (picked > threshold + slack)).sum(1)
    short = (need - good.sum(1)).clamp(min=0)
    filled = found != -1
    column = torch.arange(1, found.shape[1] + 1, device=found.device)
    holes = (filled * column).amax(1) - filled.sum(1)
    # A row with no choice has no boundary.
    choice = lengths[rows] > reference.k
    missing = torch.where(choice, torch.maximum(missed, short), short)
    other = (filled.sum(1) - good.sum(1)) + holes
    return torch.stack([missing, torch.where(choice, low, 0), other])
