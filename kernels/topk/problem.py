"""Inputs of ``topk.select`` and their judge: the top-k family of :mod:`autotune_cli.kernels.family`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import torch

from autotune_cli.kernels.topk.reference import TopkReference, judge, make_reference, row_chunks
from autotune_cli.kernels.topk.workload import TopkWorkload

if TYPE_CHECKING:
    from autotune_cli.kernels.family import Verdict
    from autotune_cli.kernels.workload import AnyWorkload

LENGTHS_CASE = "lengths"
# What a score past its row's length holds: far above any real finite score, so that reading it shows.
GARBAGE = 1e30


@dataclass(frozen=True)
class TopkProblem:
    """Scores to select from, on one device."""

    workload: TopkWorkload
    scores: torch.Tensor
    """float32 [rows, width], contiguous; :data:`GARBAGE` past a row's length."""
    lengths: torch.Tensor
    """int32 [rows]: valid scores of each row, 0 to width."""
    full: bool
    """Every row is valid over its whole width, and the host may use that; otherwise ``lengths`` must be obeyed."""
    device: str
    reference: TopkReference

    @property
    def k(self) -> int:
        return self.workload.k

    @property
    def graph(self) -> bool:
        return self.workload.mode == "graph"

    def inputs(self) -> Mapping[str, torch.Tensor]:
        return {"scores": self.scores, "lengths": self.lengths}

    def view(self) -> TopkProblem:
        """Every candidate has all inputs."""
        return self

    def check(self, output: Any) -> Verdict:
        """Judge an int32 [rows, k] output; see :func:`autotune_cli.kernels.topk.reference.judge`."""
        return judge(output, self.scores, self.lengths, self.reference)

    def moved(self) -> TopkProblem:
        return replace(self, scores=self.scores.clone(), lengths=self.lengths.clone())

    def for_graphs(self) -> TopkProblem:
        return replace(self, workload=self.workload.model_copy(update={"mode": "graph"}))


def cases(workload: AnyWorkload) -> tuple[str, ...]:
    """The workload's distributions, the timed one first, and ``lengths`` where lengths differ."""
    topk = _topk(workload)
    return (*topk.distributions, LENGTHS_CASE) if topk.spread == "uneven" else topk.distributions


def make_problem(workload: AnyWorkload, case: str, device: str, seed: int) -> TopkProblem:
    """Draw the scores of a case at the workload's full rows x width.

    Raises:
        ValueError: a case that the workload doesn't have, or scores that aren't float32.
    """
    topk = _topk(workload)
    if case not in cases(topk):
        raise ValueError(f"no case {case!r}; known: {', '.join(cases(topk))}")
    if topk.dtype != "float32":
        raise ValueError(f"topk.select takes float32 scores, not {topk.dtype}")
    host_lengths = _edge_lengths(topk, seed) if case == LENGTHS_CASE else topk.lengths
    full = topk.spread == "even"
    generator = torch.Generator(device=device).manual_seed(seed)
    scores = torch.empty(topk.rows, topk.width, dtype=torch.float32, device=device)
    lengths = torch.tensor(host_lengths, dtype=torch.int32, device=device)
    position = torch.arange(topk.width, device=device)
    for chunk in row_chunks(topk.rows, topk.width):
        drawn = scores[chunk]
        _draw(case, drawn, topk.k, chunk.start, host_lengths[chunk], generator)
        if not full:
            drawn.masked_fill_(position >= lengths[chunk, None], GARBAGE)
    return TopkProblem(topk, scores, lengths, full, device, make_reference(scores, lengths, topk.k))


def _topk(workload: AnyWorkload) -> TopkWorkload:
    if not isinstance(workload, TopkWorkload):
        raise TypeError(f"not a top-k workload: {workload.operation}")
    return workload


def _edge_lengths(workload: TopkWorkload, seed: int) -> tuple[int, ...]:
    """Lengths around every branch a kernel takes; those likeliest to break come first, should rows be few."""
    k, width = workload.k, workload.width
    edges = dict.fromkeys(max(0, min(length, width)) for length in (k + 1, 0, k, k - 1, width, 1))
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(0, width + 1, (workload.rows,), generator=generator).tolist()
    return (*edges, *others)[: workload.rows]


def _draw(
    case: str, out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator
) -> None:
    """Fill ``out`` [n, width], rows ``first`` and on of the problem, with the scores of a case."""
    if case == "normal":
        out.normal_(generator=generator)
    elif case == "equal":
        out.fill_(0.75)
    elif case == "narrow":
        # All in one bin of a half-precision histogram: what broke sgl-kernel's fast_topk.
        out.uniform_(1.0, 1.245, generator=generator)
    elif case == "tie_free":
        _draw_tie_free(out, generator)
    elif case == "relu":
        cut = [_cut(fraction) for fraction in _kept(k, first, lengths)]
        out.normal_(generator=generator).sub_(_column(cut, out)).clamp_min_(0.0)
    else:
        _draw_infinite(case, out, k, first, lengths, generator)


def _kept(k: int, first: int, lengths: tuple[int, ...]) -> list[float]:
    """The fraction of each row to keep: half of k scores in rows 0, 2 ..., more than k but not all in the others."""
    fractions = []
    for i, length in enumerate(lengths, start=first):
        count = min(2 * k, (k + length) // 2) if i % 2 else k // 2
        fractions.append(min(1.0, count / max(1, length)))
    return fractions


def _cut(fraction: float) -> float:
    """Where to cut a normal distribution so that this fraction of it lies above."""
    if fraction <= 0.0:
        return math.inf
    return NormalDist().inv_cdf(1.0 - fraction) if fraction < 1.0 else -10.0


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]


def _draw_tie_free(out: torch.Tensor, generator: torch.Generator) -> None:
    """A permutation, row by row, of distinct values evenly spaced in their exponent, from -1024 to 1024.

    Neighbours differ by 28 / width of their size, 200 float32 steps or more at a width of 2**20; half are negative.
    """
    width = out.shape[1]
    t = (torch.arange(width, dtype=torch.float64, device=out.device) + 0.5) * (2.0 / width) - 1.0
    values = (t.sign() * torch.exp2(20.0 * t.abs() - 10.0)).float()
    order = torch.rand(out.shape, generator=generator, device=out.device).argsort(dim=1)
    torch.take(values, order, out=out)


def _draw_infinite(
    case: str, out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator
) -> None:
    """Normal scores, most of them -inf: fewer than k others in rows 0, 2 ..., so that some -inf must be selected.

    The case ``infinite`` also has +inf: about k / 8 of them, more than k in rows 2, 6 ...
    """
    out.normal_(generator=generator)
    chance = torch.rand(out.shape, generator=generator, device=out.device)
    kept = _column(_kept(k, first, lengths), out)
    out.masked_fill_(chance >= kept, -torch.inf)
    if case == "infinite":
        high = [(2 * k if i % 4 == 2 else k / 8) / max(1, length) for i, length in enumerate(lengths, start=first)]
        out.masked_fill_(chance < _column(high, out), torch.inf)
