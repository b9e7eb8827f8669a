"""FlashAttention-3 over trees of drafts, which it has no mask for: in two calls and a merge, or each draft a request.

Read in ``flashattention_backend.py`` of SGLang 0.5.10, 0.5.16 and 0.5.23, which verifies so where
``--speculative-eagle-topk`` is above 1. No import of torch or sgl_kernel here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _fa3 as common
from autotune_cli.kernels.attention.trees import path_to
from autotune_cli.kernels.attention.workload import AttentionWorkload

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

CASCADE, EXPANDED = "cascade", "expanded"


def why_not(workload: AttentionWorkload, tree: str) -> str | None:
    """Why a tree can't be computed this way, or None."""
    if tree not in (CASCADE, EXPANDED):
        return f"trees are computed as {CASCADE} or {EXPANDED}, not as {tree}"
    if tree == CASCADE and workload.geometry.window_left is not None:
        return "drafts of a level see different keys of a window, and a call has one window for all"
    if tree == CASCADE and workload.geometry.sinks:
        # SGLang 0.5.23 gives the sinks to both calls.
        return "sinks in both calls count twice after the merge, and FlashAttention-3 is called with the same in both"
    return None


def cascade(problem: AttentionProblem, page_size: int, knobs: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """All drafts over the cached keys, each draft over its ancestors, and a merge by their log-sum-exps.

    Neither call is causal. The second one has a request of one query for each draft; its table holds slots of single
    keys, whatever the pages are.

    Returns:
        What takes the queries, already of the dtype that is computed in.
    """
    import torch
    from sgl_kernel.attention import merge_state_v2
    from sgl_kernel.flash_attn import flash_attn_with_kvcache

    pages = problem.paged(page_size)
    prefix = [keys - new for new, keys in zip(*problem.lengths, strict=True)]
    outs = [torch.empty_like(problem.q) for _ in range(3)]
    log_sum = torch.empty(problem.q.shape[:2], dtype=torch.float32, device=problem.device)
    over_prefix = common.paged_arguments(problem, pages.up_to(prefix), outs[0])
    if not over_prefix["page_table"].shape[1]:
        # Of a batch without cached keys: the kernel takes no table without columns.
        over_prefix["page_table"] = pages.block_tables[:, :1].contiguous()
    over_prefix |= {"causal": False, "return_softmax_lse": True, **knobs}
    over_drafts = over_prefix | _each_draft(problem, pages, with_prefix=False) | {"out": outs[1]}

    def run(q: torch.Tensor) -> torch.Tensor:
        first, first_sum, *_ = flash_attn_with_kvcache(q=q, **over_prefix)
        second, second_sum, *_ = flash_attn_with_kvcache(q=q, **over_drafts)
        sums = (first_sum.T.contiguous(), second_sum.T.contiguous())
        merge_state_v2(first, sums[0], second, sums[1], outs[2], log_sum)
        return outs[2]

    return run


def expanded(
    problem: AttentionProblem, page_size: int, knobs: dict[str, Any]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """One call in which each draft is a request of its own, of the cached keys and its ancestors: a window counts them
    by position.

    Returns:
        What takes the queries, already of the dtype that is computed in.
    """
    import torch
    from sgl_kernel.flash_attn import flash_attn_with_kvcache

    pages = problem.paged(page_size)
    arguments = common.paged_arguments(problem, pages, torch.empty_like(problem.q))
    arguments |= _each_draft(problem, pages, with_prefix=True) | knobs

    def run(q: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = flash_attn_with_kvcache(q=q, **arguments)
        return result

    return run


def _each_draft(problem: AttentionProblem, pages: PagedKV, *, with_prefix: bool) -> dict[str, Any]:
    """Arguments of a call in which each draft is a request: its keys are single slots of the cache."""
    import torch

    assert problem.trees is not None
    rows = []
    for tree, new, slots in zip(problem.trees, problem.lengths.qo, pages.slots(), strict=True):
        cached = len(slots) - new
        before = slots[:cached] if with_prefix else slots[:0]
        rows += [torch.cat([before, slots[cached:][path_to(tree, draft)]]) for draft in range(new)]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int32)
    # Filled up with slot 0, which is garbage: what is beyond a length must not be read.
    table = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(torch.int32).to(problem.device)
    arguments: dict[str, Any] = {
        "k_cache": pages.k.view(-1, 1, *pages.k.shape[2:]),
        "v_cache": pages.v.view(-1, 1, *pages.v.shape[2:]),
        "page_table": common.for_longest(problem, table, 1) if with_prefix else table,
        "cache_seqlens": lengths.to(problem.device),
        "cu_seqlens_q": torch.arange(len(rows) + 1, dtype=torch.int32, device=problem.device),
        "max_seqlen_q": 1,
    }
    g = problem.geometry
    if g.q_dtype is not None:
        for name, value in (("k_descale", problem.k_scale), ("v_descale", problem.v_scale)):
            one = torch.full((1,), value, dtype=torch.float32, device=problem.device)
            arguments[name] = one.expand(len(rows), g.num_kv_heads)
    return arguments
