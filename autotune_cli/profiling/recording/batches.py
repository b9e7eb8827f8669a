"""Batches that a problem is seen as: planned for graphs, over static queries, a part of its requests."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from autotune_cli.kernels.attention.paging import PagedKV, indptr
from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.trees import Tree
from autotune_cli.kernels.attention.workload import Lengths


class Batch:
    """Requests over the pages of a problem: as much of :class:`AttentionProblem` as paged candidates read.

    Ragged keys and pages of another size are those of the problem's own requests, so a batch has neither; nor has it
    an exact output. A candidate that asks for them fails instead of reading the keys of other requests.
    """

    def __init__(
        self,
        problem: AttentionProblem,
        lengths: Lengths,
        q: torch.Tensor,
        pages: PagedKV,
        qo_indptr: torch.Tensor | None = None,
        trees: tuple[Tree, ...] | None = None,
    ) -> None:
        """A batch on the problem's device, with its geometry.

        Args:
            lengths: of the requests.
            q: [queries, query heads, head dim], those of all requests.
            pages: of the requests.
            qo_indptr: [batch + 1] int32 on the CPU; None: made from the lengths.
            trees: of the requests, where their queries are trees of drafts.
        """
        self.workload, self.geometry = problem.workload, problem.geometry
        self.device, self.graph = problem.device, problem.graph
        self.dtype, self.cache_dtype = problem.dtype, problem.cache_dtype
        self.k_scale, self.v_scale, self.sinks = problem.k_scale, problem.v_scale, problem.sinks
        self.workspace = problem.workspace
        self.lengths, self.q, self.trees = lengths, q, trees
        self.qo_indptr = indptr(lengths.qo) if qo_indptr is None else qo_indptr
        self._pages = pages

    def paged(self, page_size: int) -> PagedKV:
        """The pages of the requests.

        Raises:
            ValueError: a page size that the batch was not made with.
        """
        if page_size != self._pages.page_size:
            raise ValueError(f"a batch over pages of {self._pages.page_size} has no pages of {page_size}")
        return self._pages


def for_graphs(problem: Any) -> Any:
    """The problem as one whose candidates will be captured."""
    return problem.for_graphs()


def narrowed(problem: AttentionProblem, static: torch.Tensor) -> AttentionProblem:
    """The same requests, their queries the first rows of a static tensor."""
    view = copy.copy(problem)
    view.q = static[: problem.q.shape[0]]
    return view


def part(problem: AttentionProblem, requests: Sequence[int], page_size: int) -> tuple[Batch, torch.Tensor]:
    """Some of the requests as a batch of their own, and their rows in the whole batch's output."""
    whole, lengths = problem.paged(page_size), problem.lengths
    starts = indptr(lengths.qo).tolist()
    rows = torch.cat([torch.arange(starts[number], starts[number + 1]) for number in requests])
    pages = PagedKV(
        page_size,
        whole.k,
        whole.v,
        tuple(whole.tables[number] for number in requests),
        tuple(whole.lengths[number] for number in requests),
    )
    chosen = Lengths(tuple(lengths.qo[n] for n in requests), tuple(lengths.kv[n] for n in requests))
    rows = rows.to(problem.device)
    trees = None if problem.trees is None else tuple(problem.trees[number] for number in requests)
    return Batch(problem, chosen, problem.q[rows], pages, trees=trees), rows
