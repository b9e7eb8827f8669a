"""Inputs of selections and their judge: the top-k family of :mod:`autotune_cli.kernels.family`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.topk.captured import captured
from autotune_cli.kernels.topk.indexer import IndexerInputs, draw_indexer, exact_scores, judge_near
from autotune_cli.kernels.topk.layout import Layout, make_layout
from autotune_cli.kernels.topk.reference import TopkReference, judge, make_reference, malformed, row_chunks
from autotune_cli.kernels.topk.scores import draw, rounded
from autotune_cli.kernels.topk.ties import judge_ties
from autotune_cli.kernels.topk.workload import TopkWorkload

if TYPE_CHECKING:
    from autotune_cli.kernels.properties import TieBreak
    from autotune_cli.kernels.workload import AnyWorkload

LENGTHS_CASE = "lengths"
CAPTURED_CASE = "captured"
# Of scores that are computed, from normal queries and keys.
COMPUTED_CASE = "computed"
# What a score past its row's length holds: above all but outliers and the ends of the number range, so that reading it
# shows.
GARBAGE = 1e30
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TopkProblem:
    """Scores to select from, on one device."""

    workload: TopkWorkload
    scores: torch.Tensor
    """float32 or bfloat16 [rows, width], contiguous; :data:`GARBAGE` past a row's length. Of ``topk.indexer`` the exact
    ones, which no candidate is given."""
    lengths: torch.Tensor
    """int32 [rows]: valid scores of each row, 0 to width."""
    full: bool
    """Every row is valid over its whole width, and the host may use that; otherwise ``lengths`` must be obeyed."""
    device: str
    reference: TopkReference
    layout: Layout | None = None
    """Of the batch, for a fused selection."""
    seed: int = 0
    """From which it was drawn."""
    indexer: IndexerInputs | None = None
    """What the scores are computed from, of ``topk.indexer``."""

    @property
    def k(self) -> int:
        return self.workload.k

    @property
    def graph(self) -> bool:
        return self.workload.mode == "graph"

    def inputs(self) -> Mapping[str, torch.Tensor]:
        own = {"scores": self.scores} if self.indexer is None else self.indexer.inputs()
        own["lengths"] = self.lengths
        return own if self.layout is None else {**own, **self.layout.inputs()}

    def view(self) -> TopkProblem:
        """Every candidate has all inputs."""
        return self

    def check(self, output: Any) -> Verdict:
        """Judge an int32 [rows, k] output; see :func:`autotune_cli.kernels.topk.reference.judge`, and
        :func:`autotune_cli.kernels.topk.indexer.judge_near` where the scores are the candidate's own.
        """
        if self.indexer is not None and self.layout is not None:
            wrong = malformed(output, self.scores, self.k)
            positions = None if wrong else self.layout.positions(output)
            return judge_near(output, positions, self.scores, self.lengths, self.reference)
        if self.layout is None:
            return judge(output, self.scores, self.lengths, self.reference)
        starts, to_positions = self.layout.row_starts, self.layout.positions
        return judge(output, self.scores, self.lengths, self.reference, starts, to_positions)

    def check_ties(self, output: Any, tie_break: TieBreak) -> Verdict:
        """See :func:`autotune_cli.kernels.topk.ties.judge_ties`. Which scores are equal is not known where they are the
        candidate's own.
        """
        if self.indexer is not None:
            return Verdict(False, 1.0, 0.0, "ties", "can't be shown where a candidate computes the scores")
        starts = None if self.layout is None else self.layout.row_starts
        positions = output if self.layout is None else self.layout.positions(output)
        return judge_ties(positions, self.scores, self.lengths, self.reference, tie_break, starts)

    @property
    def batch(self) -> int:
        """Requests; without a layout each row is one."""
        return self.workload.request_count

    def rows_of(self, requests: Sequence[int]) -> list[int]:
        ends = [0, *itertools.accumulate(self.workload.queries)]
        return [row for number in requests for row in range(ends[number], ends[number + 1])]

    def of_requests(self, requests: Sequence[int]) -> TopkProblem:
        """Only these requests, in that order, also more than once. Packed rows hold the scores of these only, and
        ragged keys lie where they lay.
        """
        whole, rows = self.workload, self.rows_of(requests)
        counts = [whole.queries[number] for number in requests]
        starts = None if self.layout is None else self.layout.row_starts
        scores, width = self.scores[rows], whole.width
        if starts is not None:
            width = whole.keys * len(requests)
            windows = scores.gather(1, starts[rows].long()[:, None] + torch.arange(whole.keys, device=scores.device))
            at = [number * whole.keys for number, count in enumerate(counts) for _ in range(count)]
            starts = torch.tensor(at, dtype=torch.int32, device=scores.device)
            scores = torch.full((len(rows), width), GARBAGE, dtype=scores.dtype, device=scores.device)
            columns = starts.long()[:, None] + torch.arange(whole.keys, device=scores.device)
            scores.scatter_(1, columns, windows)
        shape = {"rows": len(rows), "width": width, "requests": None if whole.requests is None else len(requests)}
        return replace(
            self,
            workload=whole.model_copy(update={**shape, "captured": None}),
            scores=scores,
            lengths=self.lengths[rows],
            reference=self.reference.of_rows(rows),
            layout=None if self.layout is None else self.layout.of_requests(requests, rows, counts, starts),
            indexer=None if self.indexer is None else self.indexer.of_rows(rows),
        )

    def other_batch(self, *, same_lengths: bool = False) -> TopkProblem:
        """Other scores and pages and, where only the GPU knows them, other lengths: short ones, from none to a quarter
        of the longest, so that what a kernel was captured for holds for no row of the other batch.

        Args:
            same_lengths: of the other batch as well, as a kernel may know them that is prepared for each batch.
        """
        workload, seed = self.workload.model_copy(update={"captured": None}), self.seed + 1
        if self.full or same_lengths:
            lengths = tuple(self.lengths.tolist())
            if self.indexer is not None:
                return _computed(workload, lengths, self.device, seed)
            return _drawn(workload, workload.distributions[0], self.device, seed, lengths)
        short = _edge_lengths(workload, seed, max(1, workload.keys // 4))
        if self.indexer is not None:
            return _computed(workload, short, self.device, seed)
        return _drawn(workload, LENGTHS_CASE, self.device, seed, short)

    def moved(self) -> TopkProblem:
        layout = None if self.layout is None else self.layout.moved()
        indexer = None if self.indexer is None else self.indexer.moved()
        return replace(self, scores=self.scores.clone(), lengths=self.lengths.clone(), layout=layout, indexer=indexer)

    def for_graphs(self) -> TopkProblem:
        return replace(self, workload=self.workload.model_copy(update={"mode": "graph"}))


def cases(workload: AnyWorkload) -> tuple[str, ...]:
    """Captured scores, if there are any, the workload's distributions, and ``lengths`` where only the GPU knows the
    rows' lengths, which in a server's batch are any; the first is timed.
    """
    topk = _topk(workload)
    if topk.operation == "topk.indexer":
        return (COMPUTED_CASE, LENGTHS_CASE)
    first = () if topk.captured is None else (CAPTURED_CASE,)
    last = () if _is_full(topk) else (LENGTHS_CASE,)
    return (*first, *topk.distributions, *last)


def make_problem(workload: AnyWorkload, case: str, device: str, seed: int) -> TopkProblem:
    """Draw the scores of a case at the workload's full rows x width.

    Raises:
        BadFile: captured scores can't be read any more, or have changed.
        ValueError: a case that the workload doesn't have, or scores that are neither float32 nor bfloat16.
    """
    topk = _topk(workload)
    if case not in cases(topk):
        raise ValueError(f"no case {case!r}; known: {', '.join(cases(topk))}")
    if topk.dtype not in _DTYPES:
        raise ValueError(f"{topk.operation} takes {' or '.join(_DTYPES)} scores, not {topk.dtype}")
    if topk.operation == "topk.indexer":
        lengths = _edge_lengths(topk, seed, topk.keys) if case == LENGTHS_CASE else topk.lengths
        return _computed(topk, lengths, device, seed)
    if case != CAPTURED_CASE or topk.captured is None:
        return _drawn(topk, case, device, seed)
    scores = torch.empty(topk.rows, topk.width, dtype=_DTYPES[topk.dtype], device=device)
    # What lies behind a row's length stays what it was.
    scores.copy_(captured(topk.captured))
    valid = torch.tensor(topk.lengths, dtype=torch.int32, device=device)
    return _problem(topk, scores, valid, make_layout(topk, device, seed), seed)


def _drawn(
    topk: TopkWorkload, case: str, device: str, seed: int, host_lengths: tuple[int, ...] | None = None
) -> TopkProblem:
    """``host_lengths``: None: those that the workload has in that case."""
    dtype = _DTYPES[topk.dtype]
    if host_lengths is None:
        host_lengths = _edge_lengths(topk, seed, topk.keys) if case == LENGTHS_CASE else topk.lengths
    generator = torch.Generator(device=device).manual_seed(seed)
    scores = torch.empty(topk.rows, topk.width, dtype=dtype, device=device)
    lengths = torch.tensor(host_lengths, dtype=torch.int32, device=device)
    position = torch.arange(topk.width, device=device)
    layout = make_layout(topk, device, seed)
    for chunk in row_chunks(topk.rows, topk.width):
        into = scores[chunk]
        drawn = into if dtype == torch.float32 else torch.empty(into.shape, device=device)
        draw(case, drawn, topk.k, chunk.start, host_lengths[chunk], generator)
        if drawn is not into:
            into.copy_(rounded(case, drawn, dtype))
        if not _is_full(topk):
            into.masked_fill_(position >= lengths[chunk, None], GARBAGE)
        if layout is not None and layout.row_starts is not None:
            into.copy_(into.gather(1, (position - layout.row_starts[chunk, None]) % topk.width))
    return _problem(topk, scores, lengths, layout, seed)


def _computed(topk: TopkWorkload, host_lengths: tuple[int, ...], device: str, seed: int) -> TopkProblem:
    """A decode step's queries and keys, and the exact scores of them."""
    lengths = torch.tensor(host_lengths, dtype=torch.int32, device=device)
    layout = make_layout(topk, device, seed)
    assert layout is not None
    assert layout.page_table is not None
    indexer = draw_indexer(topk, layout.page_table, lengths, seed)
    scores = exact_scores(indexer, layout.page_table, topk.width)
    return replace(_problem(topk, scores, lengths, layout, seed), indexer=indexer)


def _is_full(workload: TopkWorkload) -> bool:
    return workload.spread == "even" and workload.operation == "topk.select"


def _problem(
    workload: TopkWorkload, scores: torch.Tensor, lengths: torch.Tensor, layout: Layout | None, seed: int
) -> TopkProblem:
    starts = None if layout is None else layout.row_starts
    reference = make_reference(scores, lengths, workload.k, starts)
    return TopkProblem(workload, scores, lengths, _is_full(workload), scores.device.type, reference, layout, seed)


def _topk(workload: AnyWorkload) -> TopkWorkload:
    if not isinstance(workload, TopkWorkload):
        raise TypeError(f"not a top-k workload: {workload.operation}")
    return workload


def _edge_lengths(workload: TopkWorkload, seed: int, most: int) -> tuple[int, ...]:
    """Lengths up to ``most`` around every branch a kernel takes; those likeliest to break come first, should rows be
    few.
    """
    k = workload.k
    edges = dict.fromkeys(max(0, min(length, most)) for length in (k + 1, 0, k, k - 1, most, 1))
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(0, most + 1, (workload.rows,), generator=generator).tolist()
    return (*edges, *others)[: workload.rows]
